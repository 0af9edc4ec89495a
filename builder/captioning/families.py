"""The families of captioning models that are accepted, and how each one takes a prompt.

Each family needs its prompt in a form of its own. In another form, some models fail with an error.
Others ignore the image: a BLIP-2 replaces the image tokens by what it sees, so without these tokens
it writes the same caption for every image. Each family here is therefore tested with and without a
prompt. Every other model is refused before its weights are loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from builder.captioning.settings import CaptionSettings
from builder.core.errors import CaptionError
from builder.core.records import Json


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of captioning model.

    Parameters
    ----------
    name
        The family's usual name.
    model_type
        The `model_type` in config.json.
    parts
        The model types that parts of config.json must have, by the parts' names.
    architecture
        The class of transformers that makes captions with it. Weights of another class, such as one
        that answers questions, have the same model type and other layers.
    prompt_ids
        A function of the model's config, its tokenizer and the prompt. It returns the token ids
        that `generate` starts from, or None if `generate` finds them itself.
    argument
        The argument of `generate` that takes these ids.
    positions
        The entry of the config that limits the number of tokens, with dots between names. It is
        empty if there is no limit.
    repeats_prompt
        Whether a caption begins with the prompt, which the model continues.
    """

    name: str
    model_type: str
    parts: Mapping[str, str]
    architecture: str
    prompt_ids: Callable[[Any, Any, str], list[int] | None]
    argument: str = "input_ids"
    positions: str = ""
    repeats_prompt: bool = True

    @property
    def is_blip2_t5(self) -> bool:
        """Whether this is BLIP-2 with T5, for which this project has its own search."""
        return self.parts.get("text_config") == "t5"

    def start(self, config: Any, tokenizer: Any, settings: CaptionSettings) -> list[int] | None:
        """Return the token ids that `generate` starts from, for the prompt of the settings.

        They are None if `generate` finds them itself.

        Raises
        ------
        CaptionError
            The prompt contains the image token, or leaves no room for a caption, or config.json
            does not name the image token.
        """
        try:
            ids = self.prompt_ids(config, tokenizer, settings.prompt)
        except ValueError as error:
            raise CaptionError(f"{settings.model}: {error}") from error
        if not self.positions:
            return ids
        bound: Any = config
        for name in self.positions.split("."):
            bound = getattr(bound, name)
        length = len(ids or [0])
        if length + settings.max_new_tokens > bound:
            raise CaptionError(
                f"{settings.model}: a prompt and its caption may have {bound} tokens together, "
                f"found {length} tokens before the caption and --max-new-tokens "
                f"{settings.max_new_tokens}; shorten one of them"
            )
        return ids


def _blip(config: Any, tokenizer: Any, prompt: str) -> list[int] | None:
    """The prompt between two special tokens. `generate` replaces the first and drops the last."""
    if not prompt:
        return None
    text = config.text_config
    words = tokenizer(prompt, add_special_tokens=False).input_ids
    return [text.bos_token_id, *words, text.sep_token_id]


def _blip2_t5(config: Any, tokenizer: Any, prompt: str) -> list[int]:
    """The image tokens, then the prompt. As in LAVIS, an empty prompt is the end token alone."""
    return _behind_image(config, tokenizer(prompt).input_ids)


def _blip2_opt(config: Any, tokenizer: Any, prompt: str) -> list[int]:
    """The image tokens, then the start token and the prompt."""
    start = [config.text_config.bos_token_id]
    return _behind_image(config, tokenizer(prompt).input_ids if prompt else start)


def _behind_image(config: Any, text: list[int]) -> list[int]:
    """The image tokens, then the text. BLIP-2 replaces the image tokens by what it sees."""
    image = config.image_token_index
    if image is None:
        raise ValueError("config.json names no image_token_index; take a newer revision")
    if image in text:
        raise ValueError("the prompt contains the image token; leave it out")
    return [image] * int(config.num_query_tokens) + text


def _git(config: Any, tokenizer: Any, prompt: str) -> list[int] | None:
    """The start token and the prompt. An end token would end the caption, so there is none."""
    if not prompt:
        return None
    return [config.bos_token_id, *tokenizer(prompt, add_special_tokens=False).input_ids]


def _vit_gpt2(config: Any, tokenizer: Any, prompt: str) -> list[int] | None:
    """The prompt for the decoder. `generate` puts the start token before it."""
    words: list[int] = tokenizer(prompt, add_special_tokens=False).input_ids
    return words or None


FAMILIES = (
    Family(
        "BLIP",
        "blip",
        {},
        "BlipForConditionalGeneration",
        _blip,
        positions="text_config.max_position_embeddings",
    ),
    Family(
        "BLIP-2 with T5",
        "blip-2",
        {"text_config": "t5"},
        "Blip2ForConditionalGeneration",
        _blip2_t5,
        repeats_prompt=False,
    ),
    Family(
        "BLIP-2 with OPT",
        "blip-2",
        {"text_config": "opt"},
        "Blip2ForConditionalGeneration",
        _blip2_opt,
        positions="text_config.max_position_embeddings",
    ),
    Family("GIT", "git", {}, "GitForCausalLM", _git, positions="max_position_embeddings"),
    Family(
        "ViT-GPT2",
        "vision-encoder-decoder",
        {"encoder": "vit", "decoder": "gpt2"},
        "VisionEncoderDecoderModel",
        _vit_gpt2,
        argument="decoder_input_ids",
        positions="decoder.max_position_embeddings",
    ),
)


def family_of(config: Json, source: str) -> Family:
    """Find the family of a model.

    Parameters
    ----------
    config
        The content of its config.json.
    source
        The model's name in messages.

    Raises
    ------
    CaptionError
        The model belongs to none of the families.
    """
    found = _described(config)
    architectures = config.get("architectures") or []
    for family in FAMILIES:
        same = {"model_type": family.model_type, **family.parts}
        if all(found.get(name) == kind for name, kind in same.items()):
            if architectures and family.architecture not in architectures:
                raise CaptionError(
                    f"{source}: architecture {architectures[0]} is not accepted for model type "
                    f"{family.model_type}; expected {family.architecture}, which makes captions"
                )
            return family
    accepted = ", ".join(_shown(family.model_type, family.parts) for family in FAMILIES)
    kind = _shown(str(found.pop("model_type"))[:60], found)
    raise CaptionError(f"{source}: model type {kind} is not accepted; accepted are {accepted}")


def _described(config: Json) -> dict[str, Any]:
    """The model type of a config, and the model types of the parts that distinguish families."""
    kind = config.get("model_type")
    found = {"model_type": kind}
    same_type = [family for family in FAMILIES if family.model_type == kind]
    for name in sorted({name for family in same_type for name in family.parts}):
        part = config.get(name)
        found[name] = part.get("model_type") if isinstance(part, dict) else None
    return found


def _shown(kind: str, parts: Mapping[str, object]) -> str:
    shown = ", ".join(f"{name} {str(part)[:60]}" for name, part in parts.items())
    return f"{kind} ({shown})" if shown else kind


def check_choices(family: Family, settings: CaptionSettings) -> None:
    """Refuse settings that a family does not have. "auto" is never refused.

    Raises
    ------
    CaptionError
        The search is "lavis", or the dtype is "asam" or "fast", and the family is not BLIP-2 with a
        T5.
    """
    if family.is_blip2_t5:
        return
    if settings.search == "lavis":
        raise CaptionError(
            f"{settings.model}: --search lavis is only for BLIP-2 with T5, found {family.name}; "
            "leave the option out"
        )
    if settings.dtype in ("asam", "fast"):
        raise CaptionError(
            f"{settings.model}: --dtype {settings.dtype} is only for BLIP-2 with T5, found "
            f"{family.name}; use --dtype bfloat16 or float32"
        )


def choose_engine(engine: str, family: Family, settings: CaptionSettings) -> str:
    """The engine of `CaptionStream` for a family and settings.

    "auto" is "continuous" where it is possible, else "generate".

    Raises
    ------
    CaptionError
        The engine is "continuous" and the family is not BLIP-2 with a T5. Or the engine is
        "generate", the family is BLIP-2 with a T5, and the search is "lavis", which only
        "continuous" supports.
    """
    if engine == "auto":
        engine = "continuous" if family.is_blip2_t5 else "generate"
    if engine == "continuous" and not family.is_blip2_t5:
        raise CaptionError(
            f"{settings.model}: --engine continuous is only for BLIP-2 with T5, found "
            f"{family.name}; use --engine generate"
        )
    if engine == "generate" and family.is_blip2_t5 and settings.search == "lavis":
        raise CaptionError(
            "--engine generate supports only the search of transformers 5: add --search "
            "transformers, or use --engine continuous"
        )
    return engine


def read_processor(source: str, family: Family, **where: Any) -> Any:
    """Load a model's processor, which has the attributes `tokenizer` and `image_processor`.

    For a ViT-GPT2, transformers would load only the tokenizer, so both are loaded one by one.
    """
    import transformers

    if family.model_type != "vision-encoder-decoder":
        return transformers.AutoProcessor.from_pretrained(source, **where)
    return SimpleNamespace(
        tokenizer=transformers.AutoTokenizer.from_pretrained(source, **where),
        image_processor=transformers.AutoImageProcessor.from_pretrained(source, **where),
    )
