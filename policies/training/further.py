"""Going on from a language model that exists: a shop's own log teaches it before it serves there.

The trained folder is kept under a name that says what it depends on, so that a second run finds it. Knows no world.
"""

from pathlib import Path

from policies.language.model import LanguageSettings, find_folder, folder_fingerprint
from policies.language.prompt_cache import default_path
from policies.recgpt.tags import TagVocabulary
from policies.recgpt.wording import WHAT
from policies.registry import Say
from policies.training.evidence import Evidence
from policies.training.lessons import Teacher
from policies.training.school import Curriculum, digest_of, teach_further
from policies.training.settings import CorpusParams, SchoolParams, TrainOnLog
from simulator.batches import InteractionLog, ObservedCatalog, ObservedUsers
from simulator.environment.context import ObservedContext


def train_on_log(
    params: TrainOnLog,
    settings: LanguageSettings,
    log: InteractionLog,
    catalog: ObservedCatalog,
    users: ObservedUsers,
    context: ObservedContext,
    vocabulary: TagVocabulary,
    seed: int,
    say: Say,
) -> LanguageSettings:
    """Settings that name the model taught on the log; it is trained now, unless an earlier run did.

    Raises:
        LanguageError: the model to begin with cannot be used.
    """
    start = find_folder(settings)
    name = digest_of(
        params,
        [
            *(log.user, log.item, log.time, log.kind, catalog.category),
            *(users.gender, users.age_band, users.household, users.city),
            *(context.occasion_level, context.trend_level, context.weather_signals),
        ],
        folder_fingerprint(start),
        str(seed),
        *catalog.titles,
        *vocabulary.texts,
    )
    out = default_path().parent / "models" / name
    if not out.is_dir():
        teacher = Teacher(Evidence(log, catalog, users, context), vocabulary, seed)
        questions = [
            (item, WHAT, catalog.category_names[category])
            for item, category in enumerate(catalog.category)
            if catalog.listed[item] < log.end_day
        ]
        school = SchoolParams(
            corpus=CorpusParams(primer=0, knowledge=0.0, sentences=0.0, entities=0.05, short_names=params.short_names),
            sft=params.sft,
            adaptor=params.adaptor,
            embedding_width=params.embedding_width,
            judged=0,
        )
        teach_further(Curriculum((teacher,), None, (), (), questions), school, Path(start), out, seed, say)
    return settings.model_copy(update={"model": str(out)})
