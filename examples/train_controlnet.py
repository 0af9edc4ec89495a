"""Train a ControlNet on image, text and conditioning_image, streamed and resumable.

    python examples/train_controlnet.py
    python examples/train_controlnet.py --data xhk/ASAM-Datasets \
        --model stable-diffusion-v1-5/stable-diffusion-v1-5 --steps 50000
    torchrun --nproc_per_node 8 examples/train_controlnet.py --data xhk/ASAM-Datasets --workers 4

The first line builds the sample and trains a tiny model with random weights, without a download or
a GPU. A run may be killed at any time. The same command then continues from the last checkpoint, in
the middle of the epoch.

diffusers' own script takes the dataset by name. It needs no column arguments, because the first
three columns have the names that it expects. It copies the whole config to disk first, and stops at
a row without a caption:

    accelerate launch train_controlnet.py --dataset_name xhk/ASAM-Datasets \
        --dataset_config_name sa_000000 --resolution 512 --output_dir out/diffusers \
        --pretrained_model_name_or_path stable-diffusion-v1-5/stable-diffusion-v1-5

If there are rows without a caption (the card counts them), give it only the other rows:

    python examples/train_controlnet.py --data xhk/ASAM-Datasets --captioned captioned
    accelerate launch train_controlnet.py --dataset_name captioned ...
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import asam_datasets
from builder import build
from builder.core.console import Progress, counted, default_workers, run_command, say
from builder.core.errors import SettingsError
from builder.core.extras import program_needs
from builder.core.files import write_bytes
from builder.core.options import Parser, number, out_folder, positive, whole
from builder.core.rows import image_bytes, image_pixels

EXAMPLES = """examples:
  python examples/train_controlnet.py
  python examples/train_controlnet.py --data dist --steps 20 --resolution 64 --workers 0
  python examples/train_controlnet.py --data xhk/ASAM-Datasets --captioned captioned
"""


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = Parser(
        description="Train a ControlNet on a streamed config. The same command continues a run "
        "that was killed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("--data", metavar="DIST|REPO", help="a dist or a Hub repo (default: builds the sample)")
    add("--config", default="sa_000000", help="default: sa_000000")
    add("--image-root", metavar="TAR|DIR", help="your images, for a config without pixels")
    add("--model", default="tiny", help="Stable Diffusion's repo or folder (default: a tiny one)")
    add("--out", type=out_folder, default=Path("out/controlnet"), help="default: out/controlnet")
    add("--steps", type=positive, default=20, help="optimizer steps in all (default: 20)")
    add("--batch-size", type=positive, default=4, help="rows per rank and step (default: 4)")
    add(
        "--resolution",
        type=whole(8, 8192, multiple_of=8),
        default=512,
        help="pixels, a multiple of 8 (default: 512)",
    )
    said = "DataLoader processes per rank (default: 2, or 1 on a single core)"
    add("--workers", type=whole(0), default=min(2, default_workers()), help=said)
    add("--lr", type=number(high=1), default=1e-5, help="AdamW's learning rate (default: 1e-5)")
    add(
        "--seed",
        type=whole(0),
        default=0,
        help="seed of the order, the weights and the noise (default: 0)",
    )
    add("--save-every", type=positive, default=10, help="steps between checkpoints (default: 10)")
    add(
        "--captioned",
        type=out_folder,
        metavar="DIR",
        help="only write the rows with a caption to DIR",
    )
    add("--quiet", action="store_true", help="no progress bar")
    return result


if __name__ == "__main__":  # --help and mistakes, before imports that take seconds
    parser().parse_args()

with program_needs("examples/train_controlnet.py", "examples"):
    import datasets
    import diffusers.utils.logging
    import torch
    import torch.distributed as dist
    from datasets.distributed import split_dataset_by_node
    from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
    from tokenizers.pre_tokenizers import ByteLevel
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from builder.evaluating.sam import model_errors, silence

COLUMNS = ["image", "text", "conditioning_image", "image_id"]

# Data -------------------------------------------------------------------------------------------


def open_stream(args: argparse.Namespace, epoch: int, ranks: Ranks) -> datasets.IterableDataset:
    """This rank's rows of one epoch that have a caption, as arrays of the resolution.

    Images and control images are scaled and cut to a square about their centre, as diffusers does.
    The control image goes by nearest neighbour: a colour between two masks' is that of no mask.
    """
    stream = asam_datasets.load(
        args.config,
        "train",
        repo_or_path=args.data,
        streaming=True,
        columns=COLUMNS,
        size=args.resolution,
        fit="cover",
        image_root=args.image_root,
        shuffle_seed=args.seed,
        epoch=epoch,
    )
    stream = split_dataset_by_node(stream, ranks.rank, ranks.world)
    return stream.filter(has_caption, input_columns=["text"])


def has_caption(text: str | None) -> bool:
    """Whether a row has a caption."""
    return text is not None


def to_tensor(pixels: list[npt.NDArray[np.uint8]]) -> torch.Tensor:
    """Pictures (side, side, 3) as float32 (B, 3, side, side) in [0, 1]."""
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255


@dataclass
class Batch:
    """The input of one training step, and the state of its DataLoader worker after it."""

    image: torch.Tensor  # (B, 3, side, side) in [-1, 1]
    control: torch.Tensor  # (B, 3, side, side) in [0, 1]
    texts: list[str]
    image_ids: list[int]
    worker: int
    state: dict[str, Any]


class Batches(IterableDataset[Batch | None]):
    """The batches of a stream, for a DataLoader that continues where another one stopped.

    `states` maps each DataLoader worker to the state that it continues from. `turn` is the worker
    whose batch comes next. A DataLoader asks its workers in the order 0, 1, 2, ..., so the workers
    before `turn` first give None.
    """

    def __init__(
        self,
        stream: datasets.IterableDataset,
        batch_size: int,
        states: dict[int, dict[str, Any]],
        turn: int,
    ) -> None:
        self.stream, self.batch_size = stream, batch_size
        self.states, self.turn = states, turn

    def __iter__(self) -> Iterator[Batch | None]:
        info = get_worker_info()
        worker = info.id if info else 0
        if worker in self.states:
            self.stream.load_state_dict(self.states[worker])
        if worker < self.turn:
            yield None
        rows = []
        for row in self.stream:
            rows.append(row)
            if len(rows) == self.batch_size:
                yield self.collate(rows, worker)
                rows = []
        if rows:
            yield self.collate(rows, worker)

    def collate(self, rows: list[dict[str, Any]], worker: int) -> Batch:
        """Turn rows into tensors, in the worker's process."""
        return Batch(
            image=to_tensor([image_pixels(row) for row in rows]) * 2 - 1,
            control=to_tensor([row["conditioning_image"] for row in rows]),
            texts=[row["text"] for row in rows],
            image_ids=[row["image_id"] for row in rows],
            worker=worker,
            state=self.stream.state_dict(),
        )


# Models -----------------------------------------------------------------------------------------


@dataclass
class Models:
    """The parts of Stable Diffusion. Only the ControlNet is trained."""

    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    scheduler: Any
    controlnet: Any

    def loss(self, batch: Batch, device: torch.device) -> torch.Tensor:
        """The mean squared error of each row's predicted noise, summed over the rows."""
        with torch.no_grad():
            latents = self.vae.encode(batch.image.to(device)).latent_dist.sample()
            latents = latents * self.vae.config.scaling_factor
            tokens = self.tokenizer(
                batch.texts,
                max_length=self.tokenizer.model_max_length,
                padding="max_length",
                truncation=True,
                return_tensors="pt",
            )
            text = self.text_encoder(tokens.input_ids.to(device))[0]
        noise = torch.randn_like(latents)
        steps = self.scheduler.config.num_train_timesteps
        times = torch.randint(0, steps, (len(latents),), device=device)
        noisy = self.scheduler.add_noise(latents, noise, times)
        down, middle = self.controlnet(
            noisy, times, text, controlnet_cond=batch.control.to(device), return_dict=False
        )
        predicted = self.unet(
            noisy,
            times,
            text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
        wanted = noise
        if self.scheduler.config.prediction_type == "v_prediction":
            wanted = self.scheduler.get_velocity(latents, noise, times)
        errors: torch.Tensor = (predicted.float() - wanted.float()).square().mean((1, 2, 3))
        return errors.sum()


def pretrained(model: str) -> Models:
    """Stable Diffusion from the Hub or a folder, and a ControlNet that starts as its copy."""
    with model_errors(model, "Stable Diffusion"):
        unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
        return Models(
            CLIPTokenizer.from_pretrained(model, subfolder="tokenizer"),
            CLIPTextModel.from_pretrained(model, subfolder="text_encoder"),
            AutoencoderKL.from_pretrained(model, subfolder="vae"),
            unet,
            DDPMScheduler.from_pretrained(model, subfolder="scheduler"),
            ControlNetModel.from_unet(unet),
        )


def tiny() -> Models:
    """The same parts with random weights, a thousand times smaller, to show that training runs."""
    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    text = CLIPTextConfig(
        vocab_size=len(words),
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
    unet = UNet2DConditionModel(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=16,
        norm_num_groups=4,
    )
    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 4, 8, 8))
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)
    return Models(tokenizer, CLIPTextModel(text), vae, unet, DDPMScheduler(), control)


# Ranks ------------------------------------------------------------------------------------------


@dataclass
class Ranks:
    """This process among those that torchrun started."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def join(cls) -> Ranks:
        """Join the group that torchrun started, or be a single rank. Each rank has its own GPU."""
        rank, world, local = (
            int(os.environ.get(name, default))
            for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
        )
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", local)
            torch.cuda.set_device(device)
        if world > 1:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(rank, world, device)

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def gather(self, value: Any) -> list[Any]:
        """The value of each rank."""
        values = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(values, value)
        return values

    def average_gradients(self, parameters: list[torch.nn.Parameter], rows: int) -> None:
        """Replace each rank's gradients, summed over its rows, by the mean over all ranks' rows.

        DistributedDataParallel can't be used, because ranks run out of rows at different steps, and
        it would wait for a rank that has none.
        """
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = self.sum(torch.cat([grad.flatten() for grad in grads])) / rows
        parts = torch.split(flat, [grad.numel() for grad in grads])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def leave(self) -> None:
        """End the group."""
        if self.world > 1:
            dist.destroy_process_group()


# Training ---------------------------------------------------------------------------------------


@dataclass
class Place:
    """The position of a run: all that is necessary to continue it."""

    step: int
    epoch: int
    first: int  # the step at which the epoch began
    turn: int  # the DataLoader worker that gave the last batch, plus 1
    states: dict[int, dict[str, Any]]  # the state of each DataLoader worker


class Trainer:
    """A run. If there is a checkpoint in `args.out`, it continues from there."""

    def __init__(self, args: argparse.Namespace, ranks: Ranks) -> None:
        self.args, self.ranks = args, ranks
        open_stream(args, 0, ranks)  # a mistake in --data or --config is told before a long load
        torch.manual_seed(args.seed)
        self.models = tiny() if args.model == "tiny" else pretrained(args.model)
        for part in (self.models.text_encoder, self.models.vae, self.models.unet):
            part.to(ranks.device).requires_grad_(False)
        self.controlnet = self.models.controlnet.to(ranks.device).train()
        self.parameters = list(self.controlnet.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=args.lr)
        self.checkpoint = args.out / "checkpoint.pt"
        self.place = Place(step=0, epoch=0, first=0, turn=0, states={})
        if self.checkpoint.exists():
            self.restore()

    def run(self) -> None:
        """Train up to `args.steps` steps and save the ControlNet."""
        args, ranks = self.args, self.ranks
        if ranks.rank == 0:
            left = max(0, args.steps - self.place.step)
            say(f"{args.data} {args.config}: {left} of {counted(args.steps, 'step')}")
            if args.model == "tiny":
                say("tiny model of RANDOM WEIGHTS: this shows that training runs, nothing more")
        quiet = args.quiet or ranks.rank > 0
        log = (args.out / f"log-{ranks.rank}.jsonl").open("a")
        with log, Progress(args.steps, "step", "train", quiet=quiet) as progress:
            progress.update(self.place.step)
            while self.place.step < args.steps:
                for entry in self.epoch():
                    log.write(json.dumps(entry) + "\n")
                    log.flush()
                    progress.update(loss=f"{entry['loss']:.4f}")
                    if self.place.step % args.save_every == 0 or self.place.step == args.steps:
                        self.save()
                step, epoch = self.place.step, self.place.epoch
                if step == self.place.first:
                    raise asam_datasets.AsamDatasetsError(f"{args.config}: no row has a caption")
                if step < args.steps:
                    self.place = Place(step, epoch + 1, first=step, turn=0, states={})
        if ranks.rank == 0:
            self.controlnet.save_pretrained(args.out / "controlnet")
            say(
                f"{args.out / 'controlnet'}: the ControlNet after "
                f"{counted(self.place.step, 'step')}"
            )

    def epoch(self) -> Iterator[dict[str, Any]]:
        """Train the rest of an epoch; yields each step's loss over all ranks and images here."""
        args, ranks, place = self.args, self.ranks, self.place
        stream = open_stream(args, place.epoch, ranks)
        turn = place.turn % max(args.workers, 1)
        source = Batches(stream, args.batch_size, place.states, turn)
        loader = DataLoader(source, batch_size=None, num_workers=args.workers)
        batches = (batch for batch in loader if batch is not None)
        while place.step < args.steps:
            batch = next(batches, None)
            ids = batch.image_ids if batch else []
            rows = int(ranks.sum(torch.tensor(len(ids), device=ranks.device)))
            if not rows:  # every rank has given all of its rows
                return
            torch.manual_seed(args.seed + place.step * ranks.world + ranks.rank)
            total = torch.zeros((), device=ranks.device)
            self.optimizer.zero_grad()
            if batch:
                kind = ranks.device.type
                with torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
                    loss = self.models.loss(batch, ranks.device)
                loss.backward()  # type: ignore[no-untyped-call]
                total = loss.detach()
                place.states[batch.worker] = batch.state
                place.turn = batch.worker + 1
            ranks.average_gradients(self.parameters, rows)
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            place.step += 1
            mean = float(ranks.sum(total)) / rows
            if not math.isfinite(mean):
                raise SettingsError(f"the loss of step {place.step} is not finite: lower --lr")
            yield {"step": place.step, "epoch": place.epoch, "loss": mean, "image_ids": ids}

    def settings(self) -> dict[str, Any]:
        """The settings that must be the same to continue from a checkpoint."""
        names = ("data", "config", "model", "seed", "batch_size", "resolution", "workers", "lr")
        return {**{n: getattr(self.args, n) for n in names}, "ranks": self.ranks.world}

    def save(self) -> None:
        """Write the checkpoint atomically: weights, optimizer, and each rank's place."""
        checkpoint = {
            "settings": self.settings(),
            "controlnet": self.controlnet.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "places": self.ranks.gather(asdict(self.place)),
        }
        if self.ranks.rank == 0:
            buffer = io.BytesIO()
            torch.save(checkpoint, buffer)
            write_bytes(self.checkpoint, buffer.getvalue())

    def restore(self) -> None:
        """Load the checkpoint."""
        try:
            saved = torch.load(self.checkpoint, map_location=self.ranks.device, weights_only=True)
            self.compare(saved["settings"])
            self.controlnet.load_state_dict(saved["controlnet"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.place = Place(**saved["places"][self.ranks.rank])
        except SettingsError:
            raise
        except Exception as error:  # torch has many: UnpicklingError, RuntimeError, KeyError ...
            raise SettingsError(
                f"{self.checkpoint} is not a checkpoint of this program and model: move it away, "
                "or give another --out"
            ) from error

    def compare(self, saved: dict[str, Any]) -> None:
        """Raise SettingsError if a checkpoint was made with other settings."""
        now = self.settings()
        other = [f"{k} {saved[k]} (now {now[k]})" for k in now if saved[k] != now[k]]
        if other:
            raise SettingsError(
                f"{self.checkpoint} was made with {', '.join(other)}: give the same settings, or "
                "another --out"
            )


# Command ----------------------------------------------------------------------------------------


def write_captioned(args: argparse.Namespace, rows_per_file: int = 500) -> int:
    """Write the rows that have a caption as Parquet for diffusers' script; returns their number."""
    rows = asam_datasets.load(
        args.config,
        "train",
        repo_or_path=args.data,
        columns=COLUMNS[:3],
        image_root=args.image_root,
    )
    rows = rows.filter(has_caption, input_columns=["text"])
    if not len(rows):
        raise asam_datasets.AsamDatasetsError(f"{args.config}: no row has a caption")
    if rows[0]["image"] is None:
        image_bytes(rows[0])
    args.captioned.mkdir(parents=True, exist_ok=True)
    files = -(-len(rows) // rows_per_file)
    names = [f"train-{i:05d}-of-{files:05d}.parquet" for i in range(files)]
    if other := {path.name for path in args.captioned.iterdir()} - set(names):
        raise SettingsError(
            f"{args.captioned} holds other files, such as {min(other)}, which the training script "
            "would read too: give an empty folder"
        )
    with Progress(files, "file", str(args.captioned), quiet=args.quiet) as progress:
        for i, name in enumerate(names):
            rows.shard(files, i, contiguous=True).to_parquet(args.captioned / name)
            progress.update()
    say(
        f"{args.captioned}: {counted(len(rows), 'row')}; next: train_controlnet.py "
        "--dataset_name that folder"
    )
    return len(rows)


def sample(place: Path, ranks: Ranks) -> str:
    """Let the first rank build a dist of the sample, if it is not there."""
    built = ranks.rank > 0 or (place / "data/sa_000000/index.json").exists()
    if not built and build.main(["--sample", "--out", str(place), "--shard-size", "1M", "--quiet"]):
        raise SettingsError(f"{place}: the sample can't be built there: give another --out")
    ranks.gather(None)  # the other ranks wait here for the first one
    return str(place)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, train, report."""
    args = parser().parse_args(argv)
    if args.quiet:
        silence()
        diffusers.utils.logging.disable_progress_bar()
    ranks = Ranks.join()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        args.data = args.data or sample(args.out / "sample", ranks)
        if args.captioned:
            write_captioned(args)
        else:
            Trainer(args, ranks).run()
    finally:
        ranks.leave()
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
