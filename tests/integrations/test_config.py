import json

import keras
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusewarp.engine import Policy
from fusewarp.integrations.keras.bases import PixelStep
from fusewarp.integrations.keras.config import as_text, read_config, write_config
from fusewarp.integrations.keras.heads import Head
from fusewarp.integrations.keras.trainer import TransferTrainer
from oracles.small_training import small_base


def again(trainer, tmp_path, **objects):
    path = tmp_path / "config.yaml"
    write_config(path, {"trainer": trainer.to_config()})
    return TransferTrainer.from_config(read_config(path)["trainer"], **objects)


trainers = st.builds(
    TransferTrainer,
    epochs=st.tuples(st.integers(1, 9), st.integers(0, 9)),
    learning_rate=st.floats(1e-6, 1.0),
    batch_size=st.integers(1, 64),
    task=st.sampled_from([None, "binary", "regression"]),
    trainable_layers=st.sampled_from([0, 5, "all", "block5"]),
    head=st.builds(Head, dropout=st.floats(0, 0.9), units=st.lists(st.integers(1, 9), max_size=2)),
    class_weight=st.sampled_from([None, "balanced", {"cat": 2.0}, {1: 0.5}]),
    label_smoothing=st.floats(0, 0.5),
    image_size=st.sampled_from([None, 96, (96, 64)]),
    policy=st.sampled_from([None, Policy(), Policy(zoom_range=(0.5, 2.0), fill_mode="wrap")]),
    seed=st.integers(0, 2**31),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(trainers)
def test_yaml_and_back(tmp_path, trainer):
    assert again(trainer, tmp_path).to_config() == trainer.to_config()


def test_json_is_read_as_well(tmp_path):
    trainer = TransferTrainer(epochs=(1, 2), learning_rate=0.5)
    (tmp_path / "run.json").write_text(json.dumps({"trainer": trainer.to_config()}))
    values = read_config(tmp_path / "run.json")["trainer"]
    assert TransferTrainer.from_config(values).to_config() == trainer.to_config()


def test_objects_of_keras_are_kept(tmp_path):
    trainer = TransferTrainer(
        optimizer=keras.optimizers.SGD(0.5, momentum=0.75),
        loss=keras.losses.CategoricalFocalCrossentropy(gamma=3.0),
        metrics=["accuracy", keras.metrics.TopKCategoricalAccuracy(2, name="top2")],
    )
    made = again(trainer, tmp_path)
    assert made.optimizer.momentum == 0.75
    assert made.loss.gamma == 3.0
    assert made.metrics[1].name == "top2"


def test_pixels_of_an_own_model(tmp_path):
    step = PixelStep((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), bgr=True)
    trainer = TransferTrainer(small_base(), pixels=step)
    with pytest.raises(ValueError, match=r"'small_base', .* from_config\(values, base=\.\.\.\)"):
        again(trainer, tmp_path)
    assert again(trainer, tmp_path, base=small_base()).pixels == step


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"has \['epoch'\]"):
        TransferTrainer.from_config({"epoch": 3})


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "just words"])
def test_what_is_no_configuration(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"bad\.yaml"):
        read_config(tmp_path / "bad.yaml")


def test_text_is_the_same_for_the_same_values():
    assert as_text({"b": 1, "a": [2]}) == as_text({"a": [2], "b": 1})


def test_the_file_is_plain_yaml(tmp_path):
    write_config(tmp_path / "c.yaml", {"trainer": TransferTrainer().to_config()})
    values = yaml.safe_load((tmp_path / "c.yaml").read_text())
    assert values["trainer"]["base"] == "efficientnet-lite0"
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_numbers_of_numpy_are_plain_in_it(tmp_path):
    trainer = TransferTrainer(
        class_weight=dict(zip(np.unique([0, 1]), np.array([0.5, 2.0]), strict=True)),
        learning_rate=(np.float32(0.5), np.float64(0.25)),
        batch_size=np.int64(8),
    )
    values = again(trainer, tmp_path).to_config()
    assert (values["class_weight"], values["batch_size"]) == ({0: 0.5, 1: 2.0}, 8)
    assert values["learning_rate"] == [0.5, 0.25]


def test_numbers_and_names_may_both_be_keys():
    one, other = ({"class_weight": w} for w in ({0: 1.0, "dog": 2.0}, {"dog": 2.0, 0: 1.0}))
    assert as_text(one) == as_text(other)
    assert as_text({"class_weight": {0: 1.0}}) != as_text({"class_weight": {"0": 1.0}})
