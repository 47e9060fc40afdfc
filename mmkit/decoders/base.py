"""Station 5, the decoder: learns labels, says which words to encode, computes the loss and the predictions."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from mmkit.batch import Batch, Features, States
from mmkit.data.problems import Problem
from mmkit.data.types import Entity, Example, Prediction, TextView
from mmkit.encoders.base import Encoder
from mmkit.encoders.entity_features import EntityFeatures
from mmkit.errors import RunError
from mmkit.tasks import JointTask, LinkTask, PairTask, Task

Labels = dict[str, Any]
LabelAxes = tuple[str | None, ...]
"""For each dimension of a parameter, the key of `labels.json` whose names it has; None: it has no labels."""


def label_names(labels: Labels, key: str) -> list[str]:
    """The names under a key of `labels.json`. Raises `RunError` if it holds no list of different names."""
    names = labels.get(key)
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        what = f"has no {key!r}" if key not in labels else f"says of {key!r} what is no list of names"
    elif len(set(names)) < len(names):
        what = f"names one of its {key!r} twice"
    else:
        return names
    raise RunError(
        f"labels.json {what}",
        hint="copy the file again, or see that it belongs to this recipe's decoder",
        code="run.labels",
    )


def label_lists(labels: Mapping[str, Any]) -> dict[str, list[str]]:
    """The lists of names in `labels.json`, by key.

    What else it holds, such as settings and training examples, is left out: only these names may be shown.
    """
    return {
        key: names
        for key, names in labels.items()
        if isinstance(names, list) and all(isinstance(name, str) for name in names)
    }


_OLD_FLAGS: Mapping[str, Task] = {"pairs": PairTask(), "links": LinkTask()}
"""Class flags that decoders set before they had a task → the task that they meant."""


class Decoder(nn.Module, ABC):
    """Order of calls: `fit` (or labels read from a run) → `special_tokens` → encoders and fuser built → `build`."""

    requires: frozenset[str] = frozenset()
    """States that the fuser must provide; settings may add to it."""
    task: Task = JointTask()
    """What it is asked and what it answers; settings may choose it. The default finds spans and relations."""
    compares_examples: ClassVar[bool] = False
    """Whether its loss compares the examples of a micro-batch, so that their number changes the result."""
    reads_causal: ClassVar[bool] = False
    """Whether it can use states of tokens that do not see the following tokens, as a decoder that generates text
    can."""
    reads_windows: ClassVar[bool] = False
    """Whether it can use states of words that were read in several windows, and so have not all seen one another."""
    entity_encoder: str | None = None
    """Name of the encoder that reads the knowledge base, if the decoder needs one."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Give a decoder with old class flags the task that they meant."""
        super().__init_subclass__(**arguments)
        if "task" in vars(cls):
            return
        for flag, task in _OLD_FLAGS.items():
            if vars(cls).get(flag) is True:
                cls.task = task
                cls.compares_examples = cls.compares_examples or flag == "links"
                warnings.warn(
                    f"{cls.__qualname__}: a decoder's `{flag} = True` is now `task = {type(task).__name__}()` "
                    "(mmkit.tasks)",
                    DeprecationWarning,
                    stacklevel=3,  # past ABCMeta.__new__, to the class statement
                )

    @property
    def captures(self) -> bool | str:
        """Whether its `loss` can be recorded in a CUDA graph; see `Encoder.captures`."""
        return False

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Tokens that every text encoder's vocabulary must contain as single tokens (entity markers)."""
        return ()

    @abstractmethod
    def fit(self, examples: Iterable[Example]) -> Labels:
        """Learn the labels from training examples. The result is JSON and becomes the run's `labels.json`."""

    @abstractmethod
    def build(self, dims: Mapping[str, int], labels: Labels, entities: Sequence[Entity] = ()) -> None:
        """Make the modules. `dims` are the fuser's widths by state name."""

    def label_axes(self) -> Mapping[str, LabelAxes] | None:
        """The parameters whose size depends on the labels, by name in this module, after `build`.

        `{"linear.weight": ("tags", None)}` says that row i of `linear.weight` belongs to the i-th name of "tags" in
        `labels.json`, and that its columns belong to no labels. A training that goes on from a run with other labels
        takes the rows of the labels that both have. None: it cannot say, so that nothing of it is taken then.
        """
        return None

    def connect(self, encoders: Mapping[str, Encoder]) -> None:
        """Get the encoders, which are all built: a decoder that mixes trained runs finds them here.

        It must not keep them as its own modules: their weights would be saved twice.
        """

    def attach(self, features: EntityFeatures) -> None:
        """Take the features of the entities of `build`, in their order; called before the first batch if there is an
        `entity_encoder`."""
        raise NotImplementedError(f"{type(self).__name__} reads no knowledge base")

    def check(self, examples: Sequence[Example]) -> None:
        """Raise `DataError` for training examples that `targets` would refuse, before the first epoch."""

    def examine(self, examples: Sequence[Example], *, annotated: bool = True) -> Iterable[Problem]:
        """What `fit` and `targets` would refuse of training examples: every kind of mistake once, with all its places.

        `mmkit check` and training ask this of a decoder that is constructed and no more. Unless `annotated`, the
        recipe's annotators have not run: what they add is not there yet and is no mistake.
        """
        return ()

    def units(self, example: Example) -> list[Example]:
        """The examples to train and score on: the example itself or, for example, one for each candidate pair."""
        return [example]

    def views(self, example: Example) -> dict[str, TextView]:
        """The texts that encoders may read, by name. `example` is the task's question."""
        return {"text": TextView.of(example)}

    @abstractmethod
    def targets(self, examples: Sequence[Example], inputs: Mapping[str, Features]) -> Features:
        """CPU tensors to train against, made in a loader worker beside the encoders' collated inputs.

        Raises `DataError` naming the example for a label that `fit` never saw.
        """

    @abstractmethod
    def loss(self, states: States, targets: Features) -> dict[str, Tensor]:
        """Named scalar losses, each a mean over the batch's examples (so that shards of a batch can be weighted).

        If it has a third parameter, `encoders`, it gets the encoders by name: a decoder that generates uses their
        embeddings or their network. The same holds for `decode`.
        """

    @abstractmethod
    def decode(self, states: States, batch: Batch) -> list[Prediction]:
        """A prediction for each of `batch.examples`, in order.

        They are the task's questions: they do not contain what is to be found.
        """
