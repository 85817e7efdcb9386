"""The kinds of config files, by the word that names them."""

from typing import Final

from experiments.config import EvaluationConfig, ExperimentConfig
from experiments.training_config import TrainingConfig

Config = ExperimentConfig | EvaluationConfig | TrainingConfig

CONFIG_KINDS: Final[dict[str, type[ExperimentConfig] | type[EvaluationConfig] | type[TrainingConfig]]] = {
    "experiment": ExperimentConfig,
    "evaluation": EvaluationConfig,
    "training": TrainingConfig,
}
