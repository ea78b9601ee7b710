"""What a table says in words and in the terminal."""
