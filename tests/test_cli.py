"""The command line: what each command writes, prints and refuses.

Over 400 lines: one test after the other for each command, each of which can be read by itself.
"""

import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from ssl_lessons import book, cli, data, evaluation, training
from ssl_lessons.book import lab
from ssl_lessons.cli import doctor, judge, pretrain
from ssl_lessons.errors import InputError
from ssl_lessons.methods import METHODS
from ssl_lessons.models import ENCODERS, load_encoder, save_encoder, untrained
from ssl_lessons.training.optimizers import OPTIMIZERS
from ssl_lessons.training.plan import Plan
from ssl_lessons.training.recipes import RECIPES

COMMANDS = (
    "lab", "run", "build", "adopt", "edition", "grade", "clean", "site", "slides",
    "doctor", "pretrain", "probe", "diagnose", "export", "serve",
)  # fmt: skip
FILES = {"checkpoint.pt", "encoder.safetensors", "encoder.json", "history.json", "run.json"}
TINY = ["--images", "128", "--steps", "4", "--batch-size", "32", "--size", "16", "--no-progress"]

try:
    runner = CliRunner(mix_stderr=False)
except TypeError:  # newer versions always keep the two apart
    runner = CliRunner()


def ssl(*arguments):
    return runner.invoke(cli.app, [str(a) for a in arguments])


def refused(*arguments) -> str:
    """The one line on stderr of a command that must end with exit code 2."""
    result = ssl(*arguments)
    assert result.exit_code == 2, (result.exit_code, result.stdout, result.exception)
    assert result.stdout == "" and "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished run, and what `pretrain` printed about it."""
    out = tmp_path_factory.mktemp("runs") / "first"
    result = ssl("pretrain", *TINY, "--out", out, "--device", "cpu")
    assert result.exit_code == 0, (result.stderr, result.exception)
    return out, result.stdout


# ---- help ----------------------------------------------------------------------------------------


def test_help_of_every_command_has_an_example():
    assert all(name in ssl("--help").stdout for name in COMMANDS)
    for name in COMMANDS:
        result = ssl(name, "--help")
        assert result.exit_code == 0
        assert f"ssl-lessons {name}" in result.stdout.split("Options:")[0].split("\n", 1)[1]
        assert "rite" in result.stdout, f"{name} --help does not say what it writes"


def test_help_names_every_choice():
    text = " ".join(ssl("pretrain", "--help").stdout.split())
    for choices in (METHODS, ENCODERS, OPTIMIZERS, RECIPES, data.NAMES):
        assert all(name in text for name in choices)


def test_help_and_package_import_nothing_heavy():
    code = (
        "import sys, ssl_lessons.cli\n"
        "try: ssl_lessons.cli.app(['pretrain', '--help'])\n"
        "except SystemExit: pass\n"
        "print('loaded', [m for m in ('torch', 'numpy', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().endswith("loaded []"), done.stdout[-300:] + done.stderr


def test_version():
    import ssl_lessons

    assert ssl("--version").stdout.split() == ["ssl-lessons", ssl_lessons.__version__]


# ---- errors --------------------------------------------------------------------------------------


def test_input_error_is_one_line_without_traceback_in_a_real_process(tmp_path):
    code = "from ssl_lessons.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "probe", str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and done.stdout == ""
    assert "encoder.json" in done.stderr and done.stderr.count("\n") == 1


def test_other_errors_keep_their_traceback(monkeypatch, tmp_path):
    def broken(*args):
        raise RuntimeError("a bug")

    monkeypatch.setattr(pretrain, "_planned", broken)
    result = ssl("pretrain", "--out", tmp_path)
    assert isinstance(result.exception, RuntimeError) and str(result.exception) == "a bug"


def test_divergence_has_its_own_exit_code(monkeypatch, tmp_path):
    def diverges(*args, **keywords):
        raise training.Diverged("the loss became nan at step 7")

    monkeypatch.setattr(training, "pretrain", diverges)
    result = ssl("pretrain", *TINY, "--out", tmp_path / "run")
    assert result.exit_code == 3
    assert result.stderr == "the loss became nan at step 7\n"


def test_interruption_says_how_to_go_on(monkeypatch, tmp_path):
    def interrupted(*args, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "pretrain", interrupted)
    result = ssl("pretrain", *TINY, "--out", tmp_path / "run")
    assert result.exit_code == 130
    assert f"ssl-lessons pretrain --resume --out {tmp_path / 'run'}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "2", "--minutes", "1"], ["--epochs and --minutes"]),
        (["--steps", "2", "--minutes", "1"], ["--minutes and --steps"]),
        (["--minutes", "0"], ["--minutes", "above 0"]),
        (["--temperature", "-1"], ["--temperature", "above 0"]),
        (["--data", "imagenet"], ["imagenet", *data.NAMES]),
        (["--method", "mocov9"], ["mocov9", *METHODS]),
        (["--encoder", "vgg"], ["vgg", *ENCODERS]),
        (["--recipe", "fast"], ["fast", *RECIPES]),
        (["--optimizer", "adam", "--lr", "1"], ["adam", *OPTIMIZERS]),
        (["--optimizer", "sgd"], ["--lr", "adamw"]),
        (["--method", "supervised", "--temperature", "0.5"], ["supervised", "--temperature"]),
        (["--labels-per-class", "5"], ["simclr", "--labels-per-class"]),
        (["--device", "tpu"], ["tpu", "cpu, cuda or mps"]),
        (["--device", "cuda"], ["cuda", "choose another device"]),
        (["--policy-strength", "-1"], ["strength"]),
        (["--resume"], ["run.json", "--resume"]),
    ],
)
def test_pretrain_refuses(arguments, words, tmp_path):
    message = refused("pretrain", *arguments, "--out", tmp_path / "run")
    assert all(word in message for word in words), message
    assert not (tmp_path / "run").exists()


def test_pretrain_needs_a_folder(tmp_path):
    assert "--out" in refused("pretrain")
    (tmp_path / "file").write_text("")
    assert "is a file" in refused("pretrain", "--out", tmp_path / "file")


# ---- pretrain ------------------------------------------------------------------------------------


def test_pretrain_writes_its_files_and_says_what_next(finished):
    out, printed = finished
    assert {p.name for p in out.iterdir()} >= FILES
    assert f"ssl-lessons probe {out}" in printed and "kNN" in printed and "verdict" in printed
    stored = json.loads((out / "run.json").read_text())
    assert (stored["data"], stored["size"], stored["images"], stored["batch_size"]) == ("shapes", 16, 128, 32)
    assert stored["lr"] == RECIPES["quick"].lr and stored["encoder"] == RECIPES["quick"].encoder
    rows = json.loads((out / "history.json").read_text())["rows"]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert stored["result"]["loss"] == rows[-1]["loss"]
    assert load_encoder(out)[1] == 16


def test_compile_reaches_the_training_loop(tmp_path, monkeypatch):
    asked = []

    def stop(*args, compiled, **keywords):
        asked.append(compiled)
        raise InputError("far enough")

    monkeypatch.setattr(training, "pretrain", stop)
    for name, options in (("plain", []), ("compiled", ["--compile"])):
        assert ssl("pretrain", *TINY, *options, "--out", tmp_path / name).exit_code == 2
    assert asked == [False, True]


def test_a_finished_run_is_refused_without_resume_and_left_alone_with_it(finished):
    out, _ = finished
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.iterdir()}
    assert "--resume" in refused("pretrain", *TINY, "--out", out)
    result = ssl("pretrain", "--resume", "--out", out)
    assert result.exit_code == 0 and "complete" in result.stdout
    assert before == {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.iterdir()}


def test_resume_refuses_other_options(finished):
    message = refused("pretrain", "--resume", "--seed", 3, "--temperature", 0.5, "--out", finished[0])
    assert "--seed 0 -> 3" in message and "--temperature 0.1 -> 0.5" in message


def test_resume_needs_only_the_folder_and_ends_with_the_same_weights(finished, tmp_path, monkeypatch):
    real = training.pretrain

    def killed(*args, **keywords):
        save, count = training.checkpoints.save, 0

        def save_twice(*a):
            nonlocal count
            save(*a)
            count += 1
            if count == 2:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(training.checkpoints, "save", save_twice)
            return real(*args, **keywords)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(training, "pretrain", killed)
        assert ssl("pretrain", *TINY, "--out", out).exit_code == 130
    assert "result" not in json.loads((out / "run.json").read_text())
    assert not (out / "encoder.safetensors").exists()
    result = ssl("pretrain", "--resume", "--out", out, "--json")
    assert result.exit_code == 0, (result.stderr, result.exception)
    assert json.loads(result.stdout)["steps"] == 4
    resumed, whole = load_encoder(out)[0].state_dict(), load_encoder(finished[0])[0].state_dict()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_one_command_line_starts_a_run_and_continues_it(tmp_path):
    command = ["pretrain", *TINY, "--out", tmp_path / "run", "--resume", "--json"]
    first, second = (json.loads(ssl(*command).stdout) for _ in range(2))
    assert (first.pop("already_complete"), second.pop("already_complete")) == (False, True)
    assert first == second and first["verdict"] and 0 <= first["knn"] <= 1


def test_explicit_options_override_the_recipe(tmp_path):
    arguments = ["--temperature", 0.3, "--optimizer", "lars", "--lr", 0.1, "--weight-decay", 0, "--seed", 5]
    ssl("pretrain", *TINY, *arguments, "--policy-strength", 0, "--out", tmp_path)
    stored = json.loads((tmp_path / "run.json").read_text())
    assert stored["method_options"]["temperature"] == 0.3 and stored["weight_decay"] == 0
    assert (stored["optimizer"], stored["lr"], stored["seed"]) == ("lars", 0.1, 5)
    assert stored["policy"]["hue"] == 0 and stored["policy"]["grayscale_p"] > 0
    settings = json.loads((tmp_path / "history.json").read_text())["settings"]
    assert settings["optimizer"] == "lars" and settings["seed"] == 5


def test_minutes_become_a_stored_number_of_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "time_steps", lambda *args, **options: 2.0)
    result = ssl("pretrain", *TINY[:2], *TINY[4:], "--minutes", 0.1, "--out", tmp_path)
    assert result.exit_code == 0 and "3 steps" in result.stdout, (result.stderr, result.exception)
    stored = json.loads((tmp_path / "run.json").read_text())
    assert stored["steps"] == 3 and stored["minutes"] == 0.1 and stored["epochs"] is None


def test_timing_a_step_leaves_the_model_alone():
    recipe = RECIPES["quick"]
    model = recipe.build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = data.shapes("unlabeled", 16, 8).images
    policy = recipe.policy.replace(size=16)
    keywords = {"labels": None, "device": torch.device("cpu")}
    assert training.time_steps(model, images, (policy, policy), 4, **keywords) > 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_supervised_trains_on_the_labels_asked_for(tmp_path):
    out = tmp_path / "run"
    result = ssl(
        "pretrain", "--method", "supervised", "--labels-per-class", 3, "--images", 400, "--steps", 3,
        "--size", 16, "--out", out, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, (result.stderr, result.exception)
    assert json.loads(result.stdout)["knn"] is not None  # measured on the labels it did not train on
    settings = json.loads((out / "history.json").read_text())["settings"]
    assert settings["images"].startswith("30,") and settings["batch_size"] == 30
    assert "Supervised" in settings["method"]


# ---- probe and diagnose --------------------------------------------------------------------------


def test_probe_table_and_json_agree(finished):
    arguments = [
        "probe", finished[0], "--labels-per-class", 3, "--draws", 2, "--train-images", 200,
        "--test-images", 100,
    ]  # fmt: skip
    result = ssl(*arguments, "--json")
    assert result.exit_code == 0, (result.stderr, result.exception)
    found = json.loads(result.stdout)
    assert [row["features"] for row in found["rows"]] == ["encoder", "untrained encoder", "pixels"]
    assert found["chance"] == 0.1 and found["labels"] == 30 and found["test_images"] == 100
    for row in found["rows"]:
        assert len(row["accuracies"]) == 2 and row["mean"] == pytest.approx(sum(row["accuracies"]) / 2)
        assert 0 <= row["knn"] <= 1
    assert found["rows"][2]["dimensions"] == 3 * 16 * 16
    table = ssl(*arguments).stdout
    assert all(f"{row['mean']:.1%}" in table and f"{row['knn']:.1%}" in table for row in found["rows"])
    assert "chance" in table and "10.0%" in table
    assert found["rows"][0]["accuracies"] != found["rows"][1]["accuracies"]


def test_probe_refuses_more_labels_than_there_are(finished):
    message = refused(
        "probe", finished[0], "--labels-per-class", 50, "--train-images", 100, "--test-images", 20
    )
    assert "--labels-per-class" in message and "100 train images" in message


def test_probe_fine_tunes_beside_training_from_scratch(finished, tmp_path, monkeypatch):
    policies = []
    plain = evaluation.fine_tune_efficiency
    monkeypatch.setattr(
        evaluation, "fine_tune_efficiency", lambda *a, **k: policies.append(k["policy"]) or plain(*a, **k)
    )
    few = ["--labels-per-class", 3, "--draws", 2, "--seed", 5, "--train-images", 100, "--test-images", 50]
    short = ["--fine-tune", "--fine-tune-steps", 2, "--device", "cpu"]
    result = ssl("probe", finished[0], *few, *short, "--json")
    assert result.exit_code == 0, (result.stderr, result.exception)
    found = json.loads(result.stdout)
    tuned = found["fine_tuning"]
    assert tuned["steps"] == 2 and [row["network"] for row in tuned["rows"]] == ["fine-tuned", "from scratch"]
    encoder, size = load_encoder(finished[0])
    train, test = data.shapes("train", size, 100), data.shapes("test", size, 50)
    stored = Plan.from_dict(json.loads((finished[0] / "run.json").read_text())).policy
    assert policies == [stored] * 2 and stored.size == size
    for row, network in zip(tuned["rows"], (encoder, untrained(encoder)), strict=True):
        (expected,) = plain(
            network, train.images, train.labels, test.images, test.labels, (3,), draws=2, seed=5, policy=stored,
            steps=2, device="cpu",
        )  # fmt: skip
        assert row["accuracies"] == expected["accuracies"] and row["mean"] == expected["mean"]
    table = ssl("probe", finished[0], *few, *short).stdout
    assert all(f"{row['network']:20} {row['mean']:8.1%}" in table for row in tuned["rows"])
    assert "frozen with frozen" in table and "fine-tuned with from scratch" in table
    save_encoder(encoder, tmp_path, size)  # without run.json
    policies.clear()
    assert ssl("probe", tmp_path, "--data", "shapes", *few, *short).exit_code == 0
    assert policies == [RECIPES["quick"].policy.replace(size=size)] * 2


def test_probe_fine_tunes_only_when_asked(finished):
    few = ["--labels-per-class", 2, "--draws", 1, "--train-images", 100, "--test-images", 20]
    result = ssl("probe", finished[0], *few, "--json")
    assert "fine_tuning" not in json.loads(result.stdout) and "scratch" not in result.stderr
    assert "--fine-tune too" in refused("probe", finished[0], *few, "--fine-tune-steps", 3)


def test_probe_on_other_data_shrinks_pixels_when_they_are_large(finished, tmp_path):
    encoder, _ = load_encoder(finished[0])
    save_encoder(encoder, tmp_path, 40)
    assert "--data" in refused("probe", tmp_path)  # an encoder exported from Python does not say what it saw
    few = ["--draws", 1, "--labels-per-class", 3, "--train-images", 100, "--test-images", 50]
    result = ssl("probe", tmp_path, "--data", "digits", *few, "--json")
    assert result.exit_code == 0, (result.stderr, result.exception)
    found = json.loads(result.stdout)
    assert found["size"] == 40 and found["pixel_size"] == 32 and found["rows"][2]["dimensions"] == 3 * 32 * 32


def test_diagnose_prints_every_measure_and_the_verdict(finished):
    result = ssl("diagnose", finished[0], "--images", 150, "--json")
    assert result.exit_code == 0, (result.stderr, result.exception)
    found = json.loads(result.stdout)
    assert found["images"] == 150 and set(judge.MEASURES) <= set(found["evidence"])
    assert len(found["singular_values"]) == 150
    assert found["evidence"]["alignment"] < found["evidence"]["alignment_unrelated"]
    text = ssl("diagnose", finished[0], "--images", 150).stdout
    assert all(name in text for name in judge.MEASURES)
    assert found["verdict"].capitalize() in text and found["explanation"] in text


def test_a_collapsed_encoder_is_called_collapsed(finished, tmp_path):
    encoder, size = load_encoder(finished[0])
    for parameter in encoder.parameters():
        torch.nn.init.zeros_(parameter)
    for name, parameter in encoder.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.ones_(parameter)
    save_encoder(encoder, tmp_path, size)
    result = ssl("diagnose", tmp_path, "--data", "shapes", "--images", 100, "--json")
    assert json.loads(result.stdout)["verdict"] == "complete collapse"


# ---- a folder of photographs ---------------------------------------------------------------------


def test_a_folder_of_jpegs_from_pretraining_to_diagnosis(tmp_path, monkeypatch):
    world = data.shapes("train", 40, 90)
    for i, (image, label) in enumerate(zip(world.images, world.labels % 3, strict=True)):
        folder = tmp_path / "photos" / f"class{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i}.jpg")
    monkeypatch.chdir(tmp_path)
    result = ssl(
        "pretrain",
        "--data",
        "photos",
        "--size",
        16,
        "--epochs",
        0.5,
        "--batch-size",
        16,
        "--out",
        "run",
        "--json",
    )
    assert result.exit_code == 0, (result.stderr, result.exception)
    assert json.loads(result.stdout)["data"] == str(tmp_path / "photos")
    monkeypatch.chdir(os.sep)  # the stored path holds from anywhere
    result = ssl("probe", tmp_path / "run", "--labels-per-class", 2, "--draws", 1, "--json")
    assert result.exit_code == 0, (result.stderr, result.exception)
    found = json.loads(result.stdout)
    assert found["classes"] == 3 and found["train_images"] + found["test_images"] == 90
    assert json.loads(ssl("diagnose", tmp_path / "run", "--json").stdout)["data"] == "photos"
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    assert "photos" in refused("probe", tmp_path / "run")
    moved = ["--data", tmp_path / "elsewhere", "--labels-per-class", 2, "--draws", 1, "--json"]
    again = json.loads(ssl("probe", tmp_path / "run", *moved).stdout)
    assert [row["mean"] for row in again["rows"]] == [row["mean"] for row in found["rows"]]


# ---- the machine and the book --------------------------------------------------------------------


def test_doctor_tells_a_program_and_a_reader_the_same(monkeypatch):
    minute = {"seconds_per_step": 0.06, "steps": 1000, "epochs": 31.25, "images": 8192}
    with monkeypatch.context() as patch:
        patch.setattr(doctor, "_one_minute", lambda name: minute)
        text = ssl("doctor").stdout
    assert "one minute = 1,000 steps = 31.2 epochs of 8,192 embedded images" in text
    found = json.loads(ssl("doctor", "--json").stdout)
    assert found["torch"] == torch.__version__ and found["device"]["type"] == "cpu"
    assert found["one_minute"]["quick"]["steps"] >= 1 and found["cores"] >= 1
    assert set(found["data"]) == {"stl10", "cifar10"}
    assert {"python", "torchvision", "memory_gb", "disk_free_gb", "jupyterlab", "problems"} <= set(found)
    assert found["torchvision"] in text


def test_doctor_turns_each_problem_into_advice():
    report = {
        "threads": 1, "cores": 2, "device": {"type": "cuda"}, "memory_available_gb": 0.5, "disk_free_gb": 3.0,
        "data": {"stl10": False}, "jupyterlab": None, "jupytext": "1", "one_minute": {"quick": {"steps": 20}},
    }  # fmt: skip
    found = doctor._problems(report, psutil=False)
    for word in ("OMP_NUM_THREADS", "close other programs", "STL-10", "jupyterlab and psutil", "--minutes"):
        assert any(word in line for line in found), word
    good = report | {
        "threads": 2, "memory_available_gb": 8.0, "disk_free_gb": 50.0, "jupyterlab": "4",
        "one_minute": {"quick": {"steps": 900}},
    }  # fmt: skip
    assert doctor._problems(good, psutil=True) == []


def test_memory_is_read_without_psutil(monkeypatch):
    if not hasattr(os, "sysconf"):
        pytest.skip("this system has no sysconf")
    monkeypatch.setitem(sys.modules, "psutil", None)
    total, available = doctor._memory_gb()
    assert total is None or 0 < available <= total


@pytest.mark.parametrize("command", ["run", "build"])
def test_chapters_print_rows_and_set_the_exit_code(command, monkeypatch):
    good = book.ChapterRun("00", "00_start", 12.5, 800.0, "ok")
    bad = book.ChapterRun(
        "13", "13_losses", 3.0, 700.0, "failed: cell 3: ValueError: no", "chapter 13, cell 3"
    )

    def work(results):
        def fake(numbers, started, finished):
            for result in results:
                finished(result)
            if command == "build" and bad in results:
                raise InputError("Not built: chapter 13, cell 3")

        return fake

    monkeypatch.setattr(book, command, work([good, bad]))
    result = ssl(command)
    assert result.exit_code == 1
    assert "00_start" in result.stdout and "12.5 s" in result.stdout and "800 MiB" in result.stdout
    assert "failed: cell 3" in result.stdout
    found = json.loads(ssl(command, "--json").stdout)
    assert found["ok"] is False and [row["ok"] for row in found["chapters"]] == [True, False]
    monkeypatch.setattr(book, command, work([good]))
    assert ssl(command, "00").exit_code == 0


@pytest.mark.parametrize("command", [["pretrain", "--out", "run"], ["doctor"]], ids=lambda words: words[0])
def test_a_mistyped_data_set_is_refused_before_torch_is_imported(command):
    program = "import sys\nfrom typer.testing import CliRunner\nfrom ssl_lessons.cli import app\n"
    program += f"done = CliRunner().invoke(app, {[*command, '--data', 'shape']})\n"
    program += "print(done.exit_code, 'torch' in sys.modules, done.output)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith("2 False 'shape' is neither a data set"), done.stdout + done.stderr


def test_an_unknown_chapter_is_refused():
    assert "99" in refused("run", "99")
    assert "99" in refused("lab", "99")


def test_lab_opens_the_readers_copy_or_the_authors_pair(monkeypatch, tmp_path):
    opened, copied = [], []
    monkeypatch.setattr(lab, "own_copy", lambda number, fresh: copied.append(fresh) or (tmp_path / "13_x.ipynb", fresh))
    monkeypatch.setattr(lab, "original", lambda number: tmp_path / f"{number}_original.ipynb")
    monkeypatch.setattr(
        lab, "open_notebook", lambda path, browser, port: opened.append((path.name, browser, port)) or 7
    )
    assert ssl("lab").exit_code == 7
    assert "ssl-lessons lab --fresh 13" in ssl("lab", "13", "--fresh", "--port", "9999", "--no-browser").stdout
    assert "newer" not in ssl("lab", "13", "--authors").stdout
    assert opened == [("13_x.ipynb", True, None), ("13_x.ipynb", False, 9999), ("13_original.ipynb", True, None)]
    assert copied == [False, True]
    assert "--authors" in refused("lab", "13", "--authors", "--fresh")


def test_build_frames_builds_nothing_else(monkeypatch):
    asked = []
    monkeypatch.setattr(book, "build", lambda numbers, **options: asked.append((numbers, options["only_frames"])))
    assert ssl("build", "--frames", "13").exit_code == 0
    assert asked == [(["13"], True)]


# ---- a service -----------------------------------------------------------------------------------


def test_export_writes_a_bundle_that_answers_like_the_encoder_and_its_probe(finished, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is missing: uv run --group serve pytest")
    from ssl_lessons.deployment.bundle import load_bundle
    from ssl_lessons.deployment.export import linear_layer

    out = tmp_path / "bundle"
    result = ssl("export", finished[0], "--out", out, "--precision", "float32", "--train-images", 300)
    assert result.exit_code == 0, (result.stderr, result.exception)
    assert "float32, 10 classes" in result.stdout
    encoder, size = load_encoder(finished[0])
    train, test = data.shapes("train", size, 300), data.shapes("test", size, 50)
    probe = linear_layer(evaluation.extract_features(encoder, train.images), train.labels)
    expected = probe(evaluation.extract_features(encoder, test.images)).argmax(dim=1)
    answers = load_bundle(out).logits(test.images.numpy()).argmax(axis=1)
    assert (torch.from_numpy(answers) == expected).float().mean() > 0.95


def test_export_and_serve_refuse_in_one_line(finished, tmp_path):
    assert "--out" in refused("export", finished[0])
    assert "precision" in refused("export", finished[0], "--out", tmp_path / "b", "--precision", "int4")
    pytest.importorskip("starlette", reason="starlette is missing: uv run --group serve pytest")
    done = subprocess.run(
        [sys.executable, "-m", "ssl_lessons", "serve", tmp_path / "nothing"], capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert done.returncode != 0 and "nothing" in done.stderr and "Traceback" not in done.stderr
