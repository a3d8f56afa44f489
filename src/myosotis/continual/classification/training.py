"""Learn a class-incremental stream: train, update the memory and measure, task after task."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from myosotis.continual.classification.batches import Augmentation, ReplayBatches
from myosotis.continual.classification.checks import check_fit
from myosotis.continual.classification.learner import Batch, Learner, Stage, TaskState
from myosotis.continual.classification.norm import Partition, set_task_balance
from myosotis.continual.classification.result import TaskRecord
from myosotis.continual.classification.settings import TrainSettings
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import Scenario, Task, View
from myosotis.continual.stream import StreamOptions, StreamTrainer, read_learner
from myosotis.data.images import ImageSet, to_unit
from myosotis.engine.errors import SettingsError
from myosotis.engine.files import read_json, write_json
from myosotis.engine.schedule import make_schedule
from myosotis.engine.seeding import derive_seed
from myosotis.engine.tabular import Tabular
from myosotis.evaluation.membership import membership_inference, shortfall
from myosotis.models.modes import evaluating

_CHUNK = 500


@dataclass(frozen=True)
class Start:
    """What an earlier run has learnt, for a stream that goes on.

    Attributes:
        path: Directory of its learner.
        sizes: Number of classes of each of its tasks.
        memory: State of its memory, with indices into the training set of the stream.
        records: Measurements after each of its tasks.
        numbers: These indices by those that the learner itself stores.
    """

    path: Path
    sizes: tuple[int, ...]
    memory: Mapping[str, Any]
    records: list[TaskRecord]
    numbers: Mapping[int, int]


@dataclass(repr=False)
class Learned(Tabular):
    """A stream that has been learnt.

    Attributes:
        learner: Learner after the last task.
        memory: Memory after the last task.
        records: Measurements after each task.
        counts: Test samples of each task.
        answers: Predicted class of every test sample, by its index in the test set.
        resumed: Whether an earlier session did a part of it.
    """

    learner: Learner[Any]
    memory: ExemplarMemory
    records: list[TaskRecord]
    counts: list[int]
    answers: Int[Tensor, " n"]
    resumed: bool = False

    def headline(self) -> str:
        """Return the final accuracy, over all test samples."""
        last = self.records[-1]
        correct = sum(accuracy * count for accuracy, count in zip(last.accuracy, self.counts, strict=True))
        return f"accuracy {correct / sum(self.counts):.3f} after {len(self.records)} tasks, {last.exemplars} exemplars"

    def rows(self) -> list[dict[str, Any]]:
        """Return the accuracy on each task after each task; None where a task has not been learnt."""
        tasks = range(len(self.records))
        return [
            {
                "after task": number,
                **{
                    f"task {task + 1}": record.accuracy[task] if task < len(record.accuracy) else None for task in tasks
                },
            }
            for number, record in enumerate(self.records, start=1)
        ]

    def matrix(self, kind: str = "accuracy") -> Float[Tensor, "tasks tasks"]:
        """Return the matrix for :mod:`myosotis.continual.metrics`; NaN where a task has not been learnt.

        Args:
            kind: ``"accuracy"``, ``"task_aware"`` or ``"validation"``.
        """
        matrix = torch.full((len(self.records),) * 2, float("nan"))
        for index, record in enumerate(self.records):
            row = getattr(record, kind)
            matrix[index, : len(row)] = torch.tensor(row)
        return matrix


def learn_classes(
    learner: Learner[Any],
    scenario: Scenario,
    memory: ExemplarMemory,
    settings: TrainSettings,
    *,
    encoder: Mapping[str, Tensor] | None = None,
    start: Start | None = None,
    watched: ImageSet | None = None,
    **options: Unpack[StreamOptions],
) -> Learned:
    """Learn the tasks of a stream one after another, and measure after each.

    Args:
        learner: New learner: an instance of a subclass of
            :class:`~myosotis.continual.classification.learner.Learner`, or what
            :func:`~myosotis.continual.classification.methods.build_learner` returns for a name.
        scenario: Stream with a test set.
        memory: Empty exemplar memory.
        settings: Training of each task.
        encoder: Weights of a backbone that has learnt the first task. It is frozen and the first task trains only the
            head, so that learners with the same encoder have the same features after it.
        start: What an earlier run has learnt: the first tasks of the stream, which are not learnt again.
        watched: Images that nothing is learnt from, whose accuracy is recorded after each task; labels are those of the
            stream.
        options: See :class:`~myosotis.continual.stream.StreamOptions`.

    Raises:
        SettingsError: The method needs a memory, a batch does not suit it, or the encoder does not fit.
        DivergedError: A weight or a loss is not finite at the end of an epoch.
    """
    trainer = _ClassTrainer(learner, scenario, memory, settings, encoder, start, watched, **options)
    records = trainer.run()
    counts = [len(task.test) for task in scenario]
    return Learned(learner, memory, records, counts, trainer.answers(), trainer.resumed)


class _ClassTrainer(StreamTrainer[Learner[Any], TaskRecord]):
    """One call of :func:`learn_classes`."""

    Record = TaskRecord

    def __init__(
        self,
        learner: Learner[Any],
        scenario: Scenario,
        memory: ExemplarMemory,
        settings: TrainSettings,
        encoder: Mapping[str, Tensor] | None,
        start: Start | None,
        watched: ImageSet | None,
        **options: Unpack[StreamOptions],
    ) -> None:
        check_fit(learner, scenario, memory, settings)
        super().__init__(learner, [len(task.classes) for task in scenario], **options)
        self._scenario, self._memory, self._settings = scenario, memory, settings
        self._encoder, self._start, self._watched = encoder, start, watched
        self._images = resident(scenario.train.images, self.device)
        self._labels = scenario.train.labels

    def begin(self) -> int:
        """Take over learner, memory and records of an earlier run."""
        start = self._start
        if start is None:
            return 0
        read_learner(self.learner, start.sizes, start.path)
        self.learner.renumber(start.numbers)
        self.learner.to(self.device)
        self._memory.load_state_dict(start.memory)
        self.records = list(start.records)
        return len(start.sizes)

    def learn_task(self, index: int) -> TaskRecord:
        """Run the stages of a task, fill the memory and measure."""
        learner, state = self.learner, self._state(index)
        started, interrupted = time.monotonic(), self.interrupted(index)
        learner.before_task(state)
        if index == 0 and self._encoder is not None:
            load_encoder(learner, self._encoder)
        steps = images = parameters = 0
        for stage in learner.stages(state):
            stage_steps, batches = self._train(index, stage)
            steps += stage_steps
            images += (self._settings.epochs if stage.epochs is None else stage.epochs) * batches.steps * batches.size
            parameters = max(parameters, sum(weight.numel() for weight in learner.net.parameters()))
        trained = time.monotonic()
        if learner.reads_memory and not learner.own_memory:
            samples = {label: state.of_class(label) for label in range(state.old, state.classes)}
            self._memory.add(samples, state.features(learner.net))
        learner.after_task(state)
        ended = time.monotonic()
        tasks = self._scenario[: index + 1]
        accuracy, aware = self._measure([task.test for task in tasks])
        watched, membership = self._watch(tasks)
        return TaskRecord(
            accuracy=accuracy,
            task_aware=aware,
            validation=self._measure([task.validation for task in tasks])[0] if len(tasks[0].validation) else [],
            seconds=None if interrupted else trained - started,
            after_seconds=ended - trained,
            steps=steps,
            images=images,
            parameters={"training": parameters, "inference": learner.inference_parameters()},
            exemplars=self._exemplars(),
            watched=watched,
            watched_membership=membership,
        )

    def figures(self, record: TaskRecord) -> tuple[dict[str, Any], str]:
        """Return the accuracy on everything so far, on the newest task, and on each task."""
        counts = [len(task.test) for task in self._scenario[: len(record.accuracy)]]
        correct = sum(value * count for value, count in zip(record.accuracy, counts, strict=True))
        text = " ".join(f"{value:.3f}" for value in record.accuracy)
        figures = {"accuracy": correct / sum(counts), "accuracy_new": record.accuracy[-1]}
        return figures, f"accuracy on each task so far {text}"

    def save_state(self, path: Path) -> None:
        write_json(path / "memory.json", self._memory.state_dict())

    def load_state(self, path: Path) -> None:
        self._memory.load_state_dict(read_json(path / "memory.json"))

    def answers(self) -> Int[Tensor, " n"]:
        """Return the predicted class of every test sample."""
        test = self._scenario.test
        assert test is not None  # noqa: S101 - checked at the start
        return predict(self.learner, test.images, torch.arange(len(test)), self.device).argmax(1)

    def _state(self, index: int) -> TaskState:
        indices = [task.train.indices for task in self._scenario[: index + 1]]
        return TaskState(
            sizes=self.sizes[: index + 1],
            current=indices[-1],
            all_so_far=torch.cat(indices),
            memory=self._memory,
            labels=self._labels,
            images=lambda rows: to_unit(self._images[rows.to(self._images.device)].to(self.device)),
            epochs=self._settings.epochs,
            learning_rate=self._settings.learning_rate,
            seed=self.seed,
        )

    def _train(self, index: int, stage: Stage) -> tuple[int, ReplayBatches]:
        learner, settings = self.learner, self._settings
        key = derive_seed(self.seed, "task", index, stage.name)
        batches = ReplayBatches(
            self._images,
            self._labels,
            stage.current,
            stage.memory,
            size=settings.batch_size,
            memory_size=None if stage.balanced else settings.memory_batch_size,
            augmentation=Augmentation(settings.padding, settings.flip),
            seed=key,
            device=self.device,
        )
        epochs = settings.epochs if stage.epochs is None else stage.epochs
        frozen = learner.encoder() if index == 0 and self._encoder is not None else None
        before = [(weight, weight.requires_grad) for weight in learner.net.parameters()]
        trained = self._select(stage, frozen)
        optimizer = torch.optim.SGD(
            trained,
            lr=settings.learning_rate if stage.learning_rate is None else stage.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.nesterov and settings.momentum > 0,
            weight_decay=settings.weight_decay if stage.weight_decay is None else stage.weight_decay,
            foreach=True,  # the same numbers, with one call for all weights; torch's default on devices only
        )
        per_epoch = -(-batches.steps // settings.accumulate)
        scheduler = make_schedule(
            optimizer, settings.schedule, per_epoch * epochs, drops=settings.drops, factor=settings.drop_factor
        )

        balance = bool(set_task_balance(learner.net, None)) and index > 0 and not stage.balanced

        def loss(net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
            if balance:
                set_task_balance(learner.net, Partition(batch.n_current, index))
            return stage.loss(net, batch)

        learner.net.train(stage.train)
        if frozen is not None:
            frozen.eval()
        fitted = self.fit(
            index,
            batches,
            loss,
            optimizer,
            scheduler,
            settings,
            epochs=epochs,
            steps_per_epoch=per_epoch,
            dropout=(key, "dropout"),
            stage=stage.name,
            save_every=self.checkpoint_every,
        )
        set_task_balance(learner.net, None)
        for weight, flag in before:
            weight.requires_grad_(flag)
        return fitted.steps, batches

    def _select(self, stage: Stage, frozen: nn.Module | None) -> list[nn.Parameter]:
        """Let only the parameters that a stage trains require gradients, and return them."""
        selected = None if stage.parameters is None else {id(weight) for weight in stage.parameters}
        excluded = set() if frozen is None else {id(weight) for weight in frozen.parameters()}
        for weight in self.learner.net.parameters():
            is_selected = weight.requires_grad if selected is None else id(weight) in selected
            weight.requires_grad_(is_selected and id(weight) not in excluded)
        return [weight for weight in self.learner.net.parameters() if weight.requires_grad]

    def _measure(self, views: list[View]) -> tuple[list[float], list[float]]:
        """Accuracy on the samples of each task, among all classes so far and among those of the task."""
        overall, within = [], []
        for task, view in zip(self._scenario, views, strict=False):
            scores = predict(self.learner, view.dataset.images, view.indices, self.device)
            overall.append((scores.argmax(1) == view.labels).float().mean().item())
            own = scores[:, task.classes.start : task.classes.stop].argmax(1) + task.classes.start
            within.append((own == view.labels).float().mean().item())
        return overall, within

    def _watch(self, tasks: Sequence[Task]) -> tuple[float | None, dict[str, float | None] | None]:
        """Accuracy on the watched images, and whether they can be told from test images of their classes."""
        images = self._watched
        if images is None:
            return None, None
        scores = predict(self.learner, images.images, torch.arange(len(images)), self.device)
        accuracy = (scores.argmax(1) == images.labels).float().mean().item()
        others = []
        for task in tasks:
            known = torch.isin(task.test.labels, images.labels)
            indices, labels = task.test.indices[known], task.test.labels[known]
            if len(indices):
                answers = predict(self.learner, task.test.dataset.images, indices, self.device)
                others.append(shortfall(answers, labels))
        if not others or scores.shape[1] < 2:
            return accuracy, None
        inferred = membership_inference(shortfall(scores, images.labels), torch.cat(others))
        return accuracy, {
            "auc": inferred.auc,
            "low": inferred.low,
            "high": inferred.high,
            "others": inferred.others,
        }

    def _exemplars(self) -> int:
        return len(self.learner.end_state()["indices"]) if self.learner.own_memory else len(self._memory)


def load_encoder(learner: Learner[Any], encoder: Mapping[str, Tensor]) -> None:
    """Load weights into the backbone that learns the first task.

    Raises:
        SettingsError: The weights are those of another architecture.
    """
    try:
        learner.encoder().load_state_dict(encoder)
    except RuntimeError as error:
        first_line = str(error).strip().splitlines()[-1].strip()
        raise SettingsError(f"the encoder does not fit the network: {first_line}") from None


def resident(images: Tensor, device: torch.device) -> Tensor:
    """Return images on the device if they take at most half of its free memory, else unchanged."""
    if device.type != "cuda":
        return images
    free, _ = torch.cuda.mem_get_info(device)
    return images.to(device) if 2 * images.numel() < free else images


def predict(
    learner: Learner[Any], images: Tensor, indices: Int[Tensor, " n"], device: torch.device | str = "cpu"
) -> Float[Tensor, "n classes"]:
    """Return the learner's scores for the images at ``indices``, on the CPU."""
    with evaluating(learner.net), torch.no_grad():
        parts = [learner.predict(to_unit(images[chunk].to(device))).float().cpu() for chunk in indices.split(_CHUNK)]
    return torch.cat(parts)
