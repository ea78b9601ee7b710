"""What talks to the machine: files, memory, interrupts, and the words of its errors."""
