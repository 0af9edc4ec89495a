"""Where a build makes its masks: on the CPU, and why.

`decode_masks(device="cuda")` gives bitmaps to a training loop at the speed of the card's memory. A
build needs PNGs, and its way there makes no full bitmap: of the 20 to 40 microseconds a mask,
parsing and filling take less than half, and the rest, deflate above all, stays on the CPU whoever
fills. A device could so save about a millisecond of an image's fifty at most, and would have to
carry each mask's bits over the bus for it. The bytes would be the same.
"""

from __future__ import annotations

from builder.core.errors import SettingsError

DEVICES = ("auto", "cpu", "cuda")


def choose_device(requested: str) -> tuple[str, str]:
    """The device that makes a build's masks, and the reason in words, for the build to say.

    Raises
    ------
    SettingsError
        `requested` is none of `DEVICES`.
    """
    if requested not in DEVICES:
        raise SettingsError(f"--device must be auto, cpu or cuda, not {requested!r}")
    if requested == "cpu":
        return "cpu", "masks on the CPU, as asked"
    why = "PNGs are made from runs without a bitmap, and deflating them stays on the CPU"
    if requested == "cuda":
        return "cpu", f"masks on the CPU although cuda was asked for: {why}; the bytes are the same"
    return "cpu", f"masks on the CPU: {why}"
