import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from measure import training as speed
from wsol.training.augment import _gathered, _sliced, augment

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
WORK = speed.Work("small_cnn", batch_size=4, image_size=16, steps=3, workers=0, device=CPU, mode="float32")


@pytest.mark.parametrize("name", list(speed.BACKBONES))
def test_both_networks_compute_the_same(name):
    ours = speed.our_network(name).eval()
    plain = speed.plain_network(name, ours).eval()
    images = torch.randint(256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    normalized = (images / 255 - ours.backbone.mean) / ours.backbone.std
    torch.testing.assert_close(ours(images), plain(normalized))
    assert sum(one.numel() for one in plain.parameters()) == sum(one.numel() for one in ours.parameters())


def test_ours_and_the_loop_with_our_augmentation_do_the_very_same_work():
    pixels = speed.Pixels.of(WORK)
    ours, plain = (make(WORK, pixels)(speed.Clock(CPU)) for make in (speed.our_loop, speed.batched_loop))
    before = speed.our_network("small_cnn")
    assert not torch.equal(ours.fc.weight, before.fc.weight)
    result = [value for key, value in ours.state_dict().items() if key not in ("backbone.mean", "backbone.std")]
    for value, expected in zip(result, plain.state_dict().values(), strict=True):
        assert torch.equal(value, expected)


@pytest.mark.parametrize("name", list(speed.LOOPS))
def test_every_loop_takes_all_steps_and_trains(name):
    clock = speed.Clock(CPU)
    trained = speed.LOOPS[name](WORK, speed.Pixels.of(WORK))(clock)
    assert clock.looks == speed.WARM_UP + WORK.steps
    assert not torch.equal(trained.fc.weight, speed.our_network("small_cnn").fc.weight)


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_plain_loop_has_the_layout_that_its_row_says(channels_last):
    seen = []

    class Network(nn.Sequential):
        def forward(self, images):
            seen.append(images.is_contiguous(memory_format=torch.channels_last))
            return super().forward(images)

    def sequential(name, weights):
        return Network(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, speed.CLASSES))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "plain_network", sequential)
        network = speed.written_loop(WORK, speed.Pixels.of(WORK), channels_last)(speed.Clock(CPU))
    assert seen == [channels_last] * (speed.WARM_UP + WORK.steps)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_the_first_step_is_not_timed(monkeypatch):
    times = iter([10.0, 16.0])
    monkeypatch.setattr(speed, "now", lambda device: next(times))
    clock = speed.Clock(CPU)
    for _ in range(speed.WARM_UP + 3):
        clock.look()
    clock.stop()
    assert clock.looks == 4
    assert clock.seconds() == 6  # asked for the time twice: before the second step, and after the last


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read as Linux tells it")
def test_memory_is_the_largest_of_one_call_whatever_was_before():
    # In a fresh process, as the command measures: an old one has free memory that a call takes without growing.
    code = """
import torch
from measure.training import added_mib
CPU = torch.device("cpu")
hold = lambda count: float(torch.ones(count * 2**18).sum())  # MiB of float32
hold(200)
print(added_mib(CPU, lambda: hold(100)), added_mib(CPU, lambda: None))
"""
    paths = os.pathsep.join(str(ROOT / folder) for folder in (".", "benchmarks", "tests/helpers"))
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    held, nothing = map(float, done.stdout.split())
    assert held == pytest.approx(100, abs=10)
    assert nothing < 10


def test_images_of_an_epoch_come_again_where_memory_holds_fewer():
    work = replace(WORK, batch_size=50, steps=20)
    pixels = speed.Pixels.of(work)
    samples = speed.Samples(pixels, work.images)
    assert (len(samples), len(pixels.images)) == (21 * 50, speed.DISTINCT)
    assert (samples[speed.DISTINCT].image == samples[0].image).all()
    assert samples[speed.DISTINCT].image_id != samples[0].image_id
    plain = speed.Transformed(pixels, work.images, lambda image: image)
    assert torch.equal(plain[5][0], torch.from_numpy(samples[5].image).permute(2, 0, 1))
    assert plain[5][1] == samples[5].class_id
    assert len(list(plain)) == len(list(samples)) == 1050


def test_ratios_are_of_one_round_and_the_goal_is_of_both():
    seconds = {name: [2.0, 4.0, 8.0] for name in speed.LOOPS}
    seconds[speed.OURS] = [1.0, 4.0, 10.0]
    assert speed.ratios(seconds, speed.OURS, speed.WRITTEN) == [2, 1, 0.8]
    memory = dict.fromkeys(speed.LOOPS, 5.0)
    (row,) = (
        line for line in speed.table_of([speed.Measurement(WORK, seconds, memory)]).splitlines() if "| wsol" in line
    )
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[3:] == ["3.0 (1.2 to 12.0)", "1.00 (0.80 to 2.00)", "1.00 (0.80 to 2.00)", "5", "met"]
    seconds[speed.BATCHED] = [0.9, 3.6, 9.0]
    assert "| missed |" in speed.table_of([speed.Measurement(WORK, seconds, memory)])


@pytest.mark.parametrize("count", [1, 16])
@pytest.mark.parametrize("size", [9, 12])
def test_crops_by_rows_and_by_gathering_are_those_cut_one_by_one(count, size):
    images = torch.randint(256, (count, 12, 12, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    draw = torch.Generator().manual_seed(2)
    tops, lefts = (torch.randint(12 - size + 1, (count,), generator=draw) for _ in range(2))
    mirrored = torch.rand(count, generator=draw) < 0.5
    expected = torch.zeros(count, size, size, 3, dtype=torch.uint8)
    for n in range(count):
        for y in range(size):
            for x in range(size):
                column = size - 1 - x if mirrored[n] else x
                expected[n, y, x] = images[n, tops[n] + y, lefts[n] + column]
    for cut in (_sliced, _gathered):
        assert torch.equal(cut(images, size, tops, lefts, mirrored), expected)
    result = augment(images.permute(0, 3, 1, 2), size, torch.Generator().manual_seed(2))
    assert torch.equal(result, expected.permute(0, 3, 1, 2))
    assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_the_table(tmp_path):
    out = tmp_path / "speed.md"
    options = "--networks small_cnn --batch-size 32 --image-size 64 --rounds 1 --steps 1 --device cpu --out".split()
    command = [sys.executable, "benchmarks/measure/training.py", *options, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    text = out.read_text(encoding="utf-8")
    assert text.strip() == done.stdout.strip()
    assert str(tmp_path) not in text
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.split("\n\n")[0].splitlines()[2:]]
    assert [row[2] for row in rows] == list(speed.LOOPS)
    assert rows[0][4] == rows[2][5] == "1.00 (1.00 to 1.00)"
    assert all(float(row[6]) > 32 * 64 * 64 * 16 * 4 / 2**20 for row in rows)  # what the first convolution gives
    assert {row[7] for row in rows[:3]} == {""}
    assert rows[3][7] in ("met", "missed")
