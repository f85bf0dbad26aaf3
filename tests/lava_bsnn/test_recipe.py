from __future__ import annotations

import dataclasses
import inspect
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.cli import command

from lava_bsnn.errors import LavaBsnnError, OptionError
from lava_bsnn.models import MODELS
from lava_bsnn.neuron import MultiThresholdLIF
from lava_bsnn.training.recipe import Recipe, load_recipe
from lava_bsnn.training.recipe_files import recipe_names
from lava_bsnn.training.run import build_loss, build_model, evaluate_run, load_run, train

NEEDED = """
digits-demo digits-events-agmm nmnist-agmm fashion-agmm cifar10-resnet19-agmm cifar100-resnet19-agmm
imagenet-resnet18-agmm dvsgesture-vggsnn-agmm cifar10dvs-vggsnn-agmm cifar10-resnet19-qsnn-8u
cifar10-resnet19-qsnn-4u cifar10-resnet19-qsnn-2u tiny-imagenet-vgg16-qsnn cifar100-resnet18-lmht
cifar100-vgg16-hybrid
"""
SMALL = ["epochs=2", "width=0.25", "num_steps=2"]


def test_the_recipes_that_users_are_told_of_exist():
    assert set(NEEDED.split()) <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_printed_recipes_read_back_equal(name, tmp_path):
    recipe = load_recipe(name)
    for full in (True, False):
        path = tmp_path / "r.yaml"
        path.write_text(recipe.to_yaml(full=full))
        assert load_recipe(path) == recipe


@pytest.mark.parametrize("name", recipe_names())
def test_the_name_of_a_recipe_says_what_it_trains(name):
    recipe, words = load_recipe(name), name.split("-")
    assert recipe.dataset.replace("-", "").startswith(words[0])
    assert set(recipe.method.split("-")) <= set(words) or (name, recipe.method) == ("digits-demo", "binary")
    assert {word for word in words if word in MODELS} <= {recipe.model}
    neuron = recipe.method_options.get("neuron_params", {})
    told = {
        "t": recipe.num_steps,
        "l": neuron.get("levels", recipe.method_options.get("levels")),
        "u": neuron.get("membrane_bits"),
    }
    for before, number, behind in re.findall(r"-([tl]?)(\d+)(u?)\b", name):
        assert told[before or behind] == int(number)


ROWS = [
    name
    for name in recipe_names()
    if load_recipe(name).published is not None
    and load_recipe(name).method in ("qsnn", "lmht", "qcfs", "hybrid")
    and not name.endswith("-authors")
]


def test_the_rows_of_q_snn_and_lm_ht_are_all_there():
    assert (
        len(ROWS) == 15 + 10 + 15
    )  # LM-HT: trained directly, and hybrid with the networks that it starts from


@pytest.mark.parametrize("name", ROWS)
def test_each_row_has_a_recipe_of_the_text_and_one_of_the_program(name):
    text, program = load_recipe(name), load_recipe(f"{name}-authors")
    assert program.summary.startswith(("Q-SNN's program, ", "LM-HT's program, "))
    assert text.summary.split(", ", 1)[1] in program.summary.replace(" from 10 frames", "")
    for field in ("published", "dataset", "model", "num_steps", "test_fraction", "spike_regulation", "start"):
        assert getattr(program, field) == getattr(text, field)
    assert program.method == {"qsnn": "qsnn-authors"}.get(text.method, text.method)
    neurons = [recipe.method_options.get("neuron_params", {}) for recipe in (text, program)]
    for field in ("membrane_bits", "levels", "threshold"):
        told = [neuron[field] for neuron in neurons if field in neuron]
        assert len(set(told)) <= 1
    assert program.method_options.get("levels") == text.method_options.get("levels")
    assert program.warmup_epochs == 0 and program.batch_size == 64
    if text.method == "qsnn":
        assert (program.spike_term, program.optimizer, program.lr, program.decay) == (
            "mean",
            "sgd",
            0.1,
            "weights",
        )
        assert (program.epochs, program.weight_decay, program.nesterov) == (300, 1e-4, False)
    else:
        assert (program.loss, program.decay, program.weight_decay) == ("rate", "all", 5e-4)
        assert program.epochs == (30 if text.method == "hybrid" else 300)
        assert program.nesterov == (program.optimizer == "sgd")
    if program.model.startswith("resnet"):
        assert program.model_options["skip"] == "classic"


def test_every_field_can_be_set_and_is_described():
    changed = {
        "summary": "x",
        "published": 1.5,
        "dataset": "mnist5k",
        "data_root": "d",
        "data_options": {"fold": 2},
        "layout": "TNCHW",
        "cache": "c",
        "skip_bad": True,
        "num_steps": 3,
        "size": 17,
        "counts": True,
        "saturate": True,
        "denoise": 5.0,
        "bin_us": 1000,
        "slice_us": 4000,
        "augment": ("flip", "crop"),
        "normalize": True,
        "test_fraction": 0.5,
        "split_seed": 3,
        "train_samples": 50,
        "validation_fraction": 0.2,
        "model": "mlp",
        "method": "fp",
        "width": 0.5,
        "input_bits": 2,
        "model_options": {"hidden": [3]},
        "method_options": {"ends": 4},
        "start": "s",
        "epochs": 7,
        "patience": 2,
        "batch_size": 3,
        "optimizer": "sgd",
        "lr": 0.5,
        "momentum": 0.5,
        "nesterov": True,
        "weight_decay": 0.5,
        "decay": "all",
        "flip_threshold": 0.25,
        "flip_decay": 0.5,
        "schedule": "constant",
        "warmup_epochs": 0.5,
        "clip_norm": 2.0,
        "label_smoothing": 0.5,
        "loss": "rate",
        "class_weights": "balanced",
        "mixup": 0.5,
        "cutmix": 1.0,
        "sampler": "balanced",
        "spike_regulation": 0.5,
        "spike_term": "mean",
        "sop_budget": 5000.0,
        "target": "loihi",
        "matched": True,
        "ema_decay": 0.5,
        "precision": "bf16-mixed",
        "seed": 9,
        "num_workers": 2,
        "checkpoint_steps": 4,
    }
    assert changed.keys() == {field.name for field in dataclasses.fields(Recipe)}
    texts = [f"{k}={json.dumps(list(v) if isinstance(v, tuple) else v)}" for k, v in changed.items()]
    assert dataclasses.asdict(load_recipe("digits-demo").replace(texts)) == changed
    attributes = inspect.getdoc(Recipe).partition("Raises:")[0]
    described = re.findall(r"^    (\w+): ", attributes, re.MULTILINE)
    assert set(described) == changed.keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lrr=1", "no field 'lrr'; did you mean lr"),
        ("lr=abc", "lr='abc' is not allowed; use a number"),
        ("lr=-1", "use 0..100"),
        ("epochs=1.5", "use a whole number"),
        ("epochs", "is not key=value"),
        ("optimizer=lion", "use one of 'sgd', 'adam', 'adamw'"),
        ("lr.x=1", "no field 'lr.x'"),
        ("augment={a: 1}", "use a list of texts"),
        ("model_options=[1]", "use a mapping"),
        ("skip_bad=1", "use true or false"),
        ("lr=[", "is not a YAML value"),
    ],
)
def test_a_wrong_assignment_is_one_clear_line(text, message):
    with pytest.raises(OptionError, match=re.escape(message)) as error:
        load_recipe("digits-demo").replace([text])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("dataset: digits\n", "fields model, epochs are missing"),
        ("extends: digits-demo\nlearning: 1\n", "unknown fields learning"),
        ("extends: nothing\n", "no recipe 'nothing'"),
        ("- a\n", "is a YAML mapping"),
        ("a: [\n", "is not a YAML file"),
        ("!!python/object/apply:os.system [ls]\n", "is not a YAML file"),
    ],
)
def test_a_wrong_file_is_one_clear_line(content, message, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(content)
    with pytest.raises(OptionError, match=re.escape(message)) as error:
        load_recipe(path)
    assert "\n" not in str(error.value)


def test_unknown_recipes_are_answered_with_near_ones():
    with pytest.raises(OptionError, match="did you mean .*cifar10-resnet19-agmm"):
        load_recipe("cifar10-resnet-agmm")


@pytest.fixture
def finished(trained_run, tmp_path):
    """A copy of a run that is done, its recipe, and the figures that it reported."""
    folder = tmp_path / "run"
    shutil.copytree(trained_run, folder)
    figures = json.loads(trained_run.with_suffix(".json").read_text())
    return folder, load_recipe(folder / "config.yaml"), SimpleNamespace(**figures)


def test_a_run_is_evaluated_to_the_accuracy_it_reported(finished):
    folder, recipe, result = finished
    assert recipe == load_recipe("digits-agmm").replace([*SMALL, "ema_decay=0.5"])
    assert evaluate_run(folder).test_accuracy == pytest.approx(result.test_accuracy)
    assert evaluate_run(folder, "best.pt").test_accuracy == pytest.approx(result.best_test_accuracy)
    for name in ("config.yaml", "metrics.csv", "training_curve.png"):
        assert (folder / name).stat().st_size > 100
    assert list(folder.glob("events.out.tfevents.*"))
    with pytest.raises(LavaBsnnError, match="holds a run already; continue it with lava-bsnn resume"):
        train(recipe, folder)
    with pytest.raises(LavaBsnnError, match="holds no run"):
        load_run(folder / "nothing")


@pytest.mark.lava
def test_a_run_is_resumed_with_other_workers_but_no_other_training(finished):
    folder, recipe, result = finished
    (folder / "metrics.csv").write_text("garbage")
    again = train(recipe.replace(["num_workers=1"]), folder, resume=True)  # nothing is left to do
    assert again.test_accuracy == result.test_accuracy == evaluate_run(folder).test_accuracy
    assert again.best_epoch == result.best_epoch
    assert load_recipe(folder / "config.yaml").num_workers == 1
    with pytest.raises(LavaBsnnError, match="was started with lr=0.002, not 0.1; a run is resumed"):
        train(recipe.replace(["lr=0.1"]), folder, resume=True)
    (folder / "config.yaml").write_text(recipe.replace(["weight_decay=0.5"]).to_yaml())
    with pytest.raises(LavaBsnnError, match="was written with weight_decay=0.0001, not 0.5"):
        train(recipe.replace(["weight_decay=0.5"]), folder, resume=True)


def test_a_run_that_never_took_a_step_does_not_block_its_folder(tmp_path):
    recipe = load_recipe("digits-agmm").replace([*SMALL, "epochs=1"])

    def fail(step):
        raise LavaBsnnError("stopped")

    with pytest.raises(LavaBsnnError, match="stopped"):
        train(recipe, tmp_path, on_step=fail)
    train(recipe, tmp_path)


def test_two_runs_do_not_share_a_folder(tmp_path):
    recipe = load_recipe("digits-agmm").replace([*SMALL, "epochs=1"])

    def train_too(text):
        train(recipe, tmp_path)

    with pytest.raises(LavaBsnnError, match="another process trains in it"):
        train(recipe, tmp_path, on_start=train_too)


def test_extends_is_relative_to_the_file(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/base.yaml").write_text("extends: digits-demo\nepochs: 3\n")
    (tmp_path / "sub/mine.yaml").write_text("extends: base.yaml\nlr: 0.5\n")
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("sub/mine.yaml")
    assert (recipe.epochs, recipe.lr, recipe.input_bits) == (3, 0.5, 4)
    (tmp_path / "sub/base.yaml").write_text("extends: mine.yaml\n")
    with pytest.raises(OptionError, match="too many files extend each other"):
        load_recipe("sub/mine.yaml")


def test_a_hybrid_starts_as_the_network_it_comes_from(tmp_path):
    ann = load_recipe("digits-qcfs").replace(["epochs=3", "width=0.25"])
    first = train(ann, tmp_path / "ann")
    hybrid = load_recipe("digits-hybrid").replace(
        ["epochs=1", "lr=0", "width=0.25", f"start={tmp_path / 'ann'}"]
    )
    with pytest.raises(LavaBsnnError, match="use --set start=DIR"):
        train(dataclasses.replace(hybrid, start=None), tmp_path / "none")
    train(hybrid, tmp_path / "snn")
    _, model = load_run(tmp_path / "snn")
    assert sum(isinstance(m, MultiThresholdLIF) for m in model.modules()) == 3
    _, source = load_run(tmp_path / "ann")
    weights = [dict(m.named_parameters())["blocks.1.synapse.weight"] for m in (source, model)]
    assert torch.equal(*weights)
    assert evaluate_run(tmp_path / "snn").test_accuracy > first.test_accuracy - 0.1
    train(load_recipe("digits-lmht").replace(SMALL), tmp_path / "lmht")
    with pytest.raises(LavaBsnnError, match="was trained with method lmht; a hybrid starts from qcfs"):
        train(dataclasses.replace(hybrid, start=str(tmp_path / "lmht")), tmp_path / "bad")


def test_mixed_precision_trains(tmp_path):
    recipe = load_recipe("digits-agmm").replace([*SMALL, "precision=bf16-mixed", "epochs=5"])
    assert train(recipe, tmp_path).test_accuracy > 0.5


def test_spike_regulation_acts_on_the_rates():
    recipe = load_recipe("digits-qsnn-2u")
    model = build_model(recipe, (1, 8, 8), 10)
    loss = build_loss(recipe, model)
    logits = model.train()(torch.rand(4, 1, 8, 8))
    loss(logits, torch.arange(4))
    assert set(loss.values) == {"tet", "spikes"} and loss.values["spikes"] > 0


def test_commands_print_what_machines_read(tmp_path):
    recipes = json.loads(command("recipes", "--json", "-").stdout)
    assert [r["name"] for r in recipes] == recipe_names()
    printed = command("recipes", "digits-demo").stdout
    (tmp_path / "my.yaml").write_text(printed)
    dry = command("train", "my.yaml", "--dry-run", "--set", "epochs=1", "--json", "-", cwd=tmp_path)
    assert json.loads(dry.stdout)["recipe"] == "my" and "parameters" in dry.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["my.yaml"]
    done = command("train", "my.yaml", "--set", *SMALL, "--set", "seed=3", "--json", "a.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "a.json").read_text())
    assert {"test_accuracy", "train_seconds", "config", "checkpoint"} <= set(figures)
    assert figures["config"]["seed"] == 3 and figures["config"]["epochs"] == 2
    assert (tmp_path / figures["checkpoint"]).is_file()
    assert figures["checkpoint"] == str(Path("runs/my/last.pt"))
    tested = command("eval", "runs/my", "--json", "-", cwd=tmp_path)
    assert json.loads(tested.stdout)["test_accuracy"] == pytest.approx(figures["test_accuracy"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "nothing"), "no recipe 'nothing'"),
        (("train", "cifar10-resnet19-agmm", "--out", "x"), "cifar10"),
        (("train", "digits-demo", "--set", "lr=x"), "lr='x'"),
        (("eval", "nowhere"), "holds no run"),
        (("resume", "nowhere"), "holds no run"),
    ],
)
def test_commands_refuse_in_one_line(arguments, message, tmp_path):
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert done.stderr.startswith("lava-bsnn: ")


@pytest.mark.parametrize(("has", "warns"), [((False, False), 1), ((False, True), 0), ((None, None), 0)])
def test_bfloat16_on_a_processor_without_it_is_told(monkeypatch, recwarn, has, warns):
    from lava_bsnn.training import build

    for name, value in zip(("avx512_bf16", "amx_tile"), has, strict=True):
        check = None if value is None else lambda value=value: value
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", check, raising=False)
    monkeypatch.setattr(build.platform, "machine", lambda: "x86_64")
    for precision in ("bf16-mixed", "32-true"):
        build.make_fabric(load_recipe("digits-agmm").replace([f"precision={precision}"]))
    assert sum("is slower than float32" in str(one.message) for one in recwarn) == warns


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("accelerator", "message"), [("cuda", "is not there"), ("tpu", "use one of 'auto', 'cpu', 'cuda'")]
)
def test_an_accelerator_that_is_not_there_is_refused(accelerator, message, tmp_path):
    done = command("train", "digits-agmm", "--accelerator", accelerator, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("*.pt"))


def test_a_gpu_is_taken_where_it_is_unless_told_otherwise(monkeypatch):
    import lightning_fabric

    from lava_bsnn.training import build

    asked = []

    class Fabric:
        def __init__(self, accelerator, **options):
            asked.append(accelerator)

        def launch(self):
            pass

    monkeypatch.setattr(lightning_fabric, "Fabric", Fabric)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for accelerator in ("auto", "cpu", "cuda"):
        build.make_fabric(load_recipe("digits-agmm"), accelerator)
    assert asked == ["cuda", "cpu", "cuda"]
