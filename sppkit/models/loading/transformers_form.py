"""What a model of transformers takes, read from its configuration; needs no transformers."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

from sppkit.models.loading.form import InputForm

# Tokens of a sequence, where the configuration allows as many or does not say.
_TOKENS = 128
# A second of sound at the 16 kHz that speech models take.
_SAMPLES_OF_SOUND = 16_000
_IMAGE_SIDE = 224
_ORIGIN = "the model's configuration"
# Names that configurations have for the longest sequence.
_LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "max_target_positions", "max_sequence_length")


def transformers_form(model: Any) -> InputForm | None:
    """Return what a model of transformers takes."""
    config, keyword = getattr(model, "config", None), getattr(model, "main_input_name", None)
    if getattr(config, "model_type", None) is None or not isinstance(keyword, str):
        return None
    arguments = inspect.signature(model.forward).parameters
    others = [form for form in _others(config, keyword) if form.keyword in arguments]
    return replace(_form(config, keyword), others=tuple(others))


def _form(config: Any, keyword: str) -> InputForm:
    if keyword == "input_ids":
        return _tokens(_part(config, "text_config"), keyword)
    read = {"pixel_values": _pixels, "input_values": _sound, "input_features": _features}.get(keyword)
    return InputForm(read(config) if read is not None else None, _ORIGIN, keyword=keyword)


def _others(config: Any, keyword: str) -> list[InputForm]:
    others = []
    if keyword == "input_ids" and _compares(config):
        others.append(InputForm(_pixels(config), _ORIGIN, keyword="pixel_values"))
    if getattr(config, "is_encoder_decoder", False):
        others.append(_tokens(_part(config, "decoder"), "decoder_input_ids"))
    return others


def _tokens(config: Any, keyword: str) -> InputForm:
    lengths = [getattr(config, name, None) for name in _LENGTHS]
    length = min([_TOKENS, *(item for item in lengths if isinstance(item, int) and item > 0)])
    return InputForm((length,), _ORIGIN, getattr(config, "vocab_size", None), keyword)


def _pixels(config: Any) -> tuple[int, ...]:
    config = _part(config, "vision_config")
    size = getattr(config, "image_size", None) or _IMAGE_SIDE
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    channels = (getattr(config, "num_channels", None) or 3, height, width)
    frames = getattr(config, "num_frames", None)
    return (frames, *channels) if isinstance(frames, int) else channels


def _sound(config: Any) -> tuple[int, ...]:
    bins, length = getattr(config, "num_mel_bins", None), getattr(config, "max_length", None)
    if isinstance(bins, int) and isinstance(length, int):
        return (length, bins)  # a spectrogram, time first
    channels = getattr(config, "audio_channels", None)
    return (channels, _SAMPLES_OF_SOUND) if isinstance(channels, int) else (_SAMPLES_OF_SOUND,)


def _features(config: Any) -> tuple[int, ...] | None:
    bins, positions = getattr(config, "num_mel_bins", None), getattr(config, "max_source_positions", None)
    per_frame = getattr(config, "input_feat_per_channel", None)
    if isinstance(per_frame, int):
        return (_TOKENS, per_frame)
    # Whisper halves the time in its second convolution, and takes exactly as many frames as give its positions.
    return (bins, 2 * positions) if isinstance(bins, int) and isinstance(positions, int) else None


def _part(config: Any, name: str) -> Any:
    part = getattr(config, name, None)
    return config if part is None else part


def _compares(config: Any) -> bool:
    # CLIP and its kin take pictures beside texts. What reads a picture into its text has a token that stands for it,
    # and does without.
    sees = hasattr(config, "vision_config") or hasattr(config, "image_size")
    return sees and not any(hasattr(config, name) for name in ("image_token_id", "image_token_index"))
