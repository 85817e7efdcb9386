"""The kinds of config files, by the word that names them."""

from typing import Final

from experiments.config import EvaluationConfig, ExperimentConfig
from experiments.timing_config import TimingConfig
from experiments.training_config import TrainingConfig

Config = ExperimentConfig | EvaluationConfig | TrainingConfig | TimingConfig

CONFIG_KINDS: Final[dict[str, type[Config]]] = {
    "experiment": ExperimentConfig,
    "evaluation": EvaluationConfig,
    "training": TrainingConfig,
    "timing": TimingConfig,
}
