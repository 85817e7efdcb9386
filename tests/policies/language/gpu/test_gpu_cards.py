"""Where CUDA is called: what is said without it, and on a machine that has it, what it really does."""

import time
import types
from typing import Any

import pytest
import torch

from policies.language.asking import Decoding, Prompt
from policies.language.generation import Generator
from policies.language.gpu import nvml
from policies.language.gpu.cards import SHEETS, CudaCard
from policies.language.gpu.engine import DECODE, PREFILL, Engine, Phases
from policies.language.gpu.nvml import open_meter
from policies.language.gpu.presets import random_model
from policies.language.gpu.rounds import in_rounds
from policies.language.gpu.works import PlanWork, WriteStep
from policies.language.ledger import Ledger
from policies.language.model import LanguageSettings, load_language
from policies.language.steps import Cuts, StepShape
from simulator.serving.transformer import ModelShape
from simulator.serving.workload import parallel_job

SHAPE = ModelShape(layers=4, width=256, heads=8, kv_heads=2, head_dim=64, ffn=512, vocabulary=2048, tied=True)
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_without_cuda_the_card_is_refused_in_one_line() -> None:
    """A device that is not there must be named, with the remedy."""
    with pytest.raises(ValueError, match=r"^device: cuda:0 \(0 CUDA devices are here; use another, or the CPU\)$"):
        CudaCard()


def test_only_whole_names_have_a_sheet() -> None:
    """A card of a weaker kind that shares a name's beginning must not get the stronger one's peaks."""
    assert SHEETS["NVIDIA H200"].name == "h200"
    assert "NVIDIA H200 NVL" not in SHEETS
    assert "NVIDIA H100 PCIe" not in SHEETS


class Library(types.SimpleNamespace):
    """The driver's library with some answers, and an error for the rest."""

    class NVMLError(Exception):
        """What it raises."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def nvmlInit(self) -> None:
        """Done."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        """A handle for the one card that is there."""
        if uuid != "GPU-abc":
            raise self.NVMLError("Not Found")
        return "handle"

    def nvmlSystemGetDriverVersion(self) -> bytes:
        """In bytes, as older ones told it."""
        return b"580.1"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        """Thousandths of joules."""
        return 12_345

    def nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> int:
        """Megahertz."""
        return {1: 1980, 2: 3201}[kind]

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        """Not here."""
        raise self.NVMLError("Not Supported")


def test_what_the_driver_does_not_tell_is_left_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Energy comes in joules, and a question without an answer, or that the library does not know, leaves None."""
    monkeypatch.setattr(nvml, "import_module", lambda name: Library())
    meter, why_not = open_meter("abc")
    assert why_not is None
    assert meter is not None
    assert meter.driver == "580.1"
    assert meter.joules() == 12.345
    reading = meter.reading()
    assert (reading["sm_mhz"], reading["memory_mhz"]) == (1980, 3201)
    assert (reading["watts"], reading["celsius"], reading["held_back"]) == (None, None, None)


def test_no_driver_and_no_library_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """There must be a reason why energy is not counted."""

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(nvml, "import_module", missing)
    assert open_meter("abc") == (None, "nvidia-ml-py is not installed")
    monkeypatch.setattr(nvml, "import_module", lambda name: Library())
    assert open_meter("GPU-other") == (None, "the driver does not answer (Not Found)")


@pytest.fixture(scope="module")
def gpu() -> CudaCard:
    """The first card."""
    return CudaCard()


@pytest.fixture(scope="module")
def model(gpu: CudaCard) -> Any:
    """A small model on it."""
    return random_model(SHAPE, gpu.device, torch.bfloat16, 1)


@pytest.mark.cuda
@on_a_gpu
def test_a_graph_writes_what_launched_steps_write(gpu: CudaCard, model: Any) -> None:
    """A recorded step must choose the tokens that the same step chooses when it is launched."""
    engine = Engine(model, gpu, 0)
    with engine.ready():
        ids = engine.tokens(4, 33)
        storage = engine.storage(4, 34)
        token = engine.read(ids, storage.cache(0), 0)
        launched = engine.write(token, storage.cache(33), 33, 1)
        write = engine.recorded(storage, 33)
        assert torch.equal(write(token, 1), launched)
        twice = engine.write(launched, storage.cache(33), 33, 1)
        assert torch.equal(write(token, 2), twice)


@pytest.mark.cuda
@on_a_gpu
def test_a_plan_takes_time_and_memory_on_the_card(gpu: CudaCard, model: Any) -> None:
    """Phases have seconds above 0 that the host's clock covers, and memory above the model's, however it writes."""
    engine = Engine(model, gpu, 0)
    with engine.ready():
        for writing in ("eager", "graph"):
            work = PlanWork(engine, parallel_job(4, 512, 32, 8), True, 2, Cuts(4096, 64), writing)  # type: ignore[arg-type]
            work.prepare()
            phases = Phases(gpu, time.monotonic)
            work.run(phases)
            sample = phases.read()
            assert set(sample.seconds) >= {PREFILL, DECODE}
            assert all(seconds > 0 for seconds in sample.seconds.values())
            assert sample.busy <= sample.held
            weights = sum(each.numel() * each.element_size() for each in model.parameters())
            assert min(sample.peak_bytes.values()) > weights


@pytest.mark.cuda
@on_a_gpu
def test_a_shape_beyond_the_memory_is_left_out_and_its_memory_comes_back(gpu: CudaCard, model: Any) -> None:
    """Running out of memory for real must leave a reason, and the next shape must be measured."""
    engine = Engine(model, gpu, 0)
    rows = 2 * int(torch.cuda.get_device_properties(gpu.device).total_memory) // (4096 * 2 * 2 * 2 * 64 * 4)
    with engine.ready():
        large, small = StepShape(1, 4096, rows), StepShape(1, 16, 2)
        for shape, fits in ((large, False), (small, True)):
            works = {"": lambda shape=shape: WriteStep(engine, shape, "graph")}
            (outcome,) = in_rounds(gpu, works, 2, time.monotonic, window=0.0).values()
            assert outcome.memory is not fits
            assert len(outcome.samples) == (2 if fits else 0)
        assert torch.cuda.memory_allocated(gpu.device) < 0.1 * torch.cuda.get_device_properties(gpu.device).total_memory


@pytest.mark.cuda
@on_a_gpu
def test_a_full_card_halves_the_batch_of_answers(gpu: CudaCard) -> None:
    """When the generator runs out of CUDA memory it must go on with half as many prompts, and answer all."""
    language = load_language(LanguageSettings(device="cuda", dtype="float32"))
    prompts = [Prompt(tuple(range(5 + k, 505 + k)), (7, 8)) for k in range(64)]

    def answered(batch: int) -> tuple[Generator, list[tuple[int, ...]]]:
        generator = Generator(language, Ledger(language.shape), batch=batch)
        return generator, generator.complete(prompts, Decoding(4, ()), "role")

    expected = answered(64)[1]
    peaks = {}
    for batch in (4, 64):
        gpu.free()
        gpu.begin_peak()
        answered(batch)
        peaks[batch] = torch.cuda.max_memory_reserved(gpu.device), gpu.peak_bytes()
    room = (peaks[4][0] + peaks[64][1]) / 2
    assert peaks[4][0] < room < peaks[64][1], "64 prompts at once must take more memory than 4"
    gpu.free()
    whole = torch.cuda.get_device_properties(gpu.device).total_memory
    torch.cuda.set_per_process_memory_fraction(room / whole, gpu.device)
    try:
        with pytest.warns(RuntimeWarning, match="out of CUDA memory, going on with"):
            generator, found = answered(64)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu.device)
    assert generator.batch < 64
    assert [len(each) for each in found] == [len(each) for each in expected]
