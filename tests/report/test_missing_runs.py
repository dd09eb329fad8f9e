import shlex

import pytest

from wsol.report.missing_runs import command_for, missing_runs, with_maps

RUN = "python benchmarks/run.py"


def setting(pooling, seed, command=RUN):
    return {"pooling": pooling, "seed": seed, "command": command}


def settings(**seeds):
    """Poolings with their seeds; the command of each is its own."""
    return [
        setting(pooling, seed, f"{RUN} pooling={pooling} seed={seed}") for pooling in seeds for seed in seeds[pooling]
    ]


class TestMissingRuns:
    @pytest.mark.parametrize(
        ("seeds", "poolings", "expected"),
        [
            ({"gap": [0, 1], "gmp": [0, 1]}, [], []),
            ({"gap": [0, 1], "gmp": [1]}, [], [("gmp", [0])]),
            ({"gap": [2, 0, 1], "gmp": [1]}, [], [("gmp", [0, 2])]),
            ({"gap": [9, 2, 1], "gmp": [1]}, [], [("gmp", [2, 9])]),  # the order of the set is another
            ({"gap": [0], "gmp": [1]}, [], [("gap", [1]), ("gmp", [0])]),
            ({"gap": [10, 9], "gmp": [9, 2]}, [], [("gap", [2]), ("gmp", [10])]),
            ({"gmp": [0], "lse": [1], "gap": [0, 1]}, [], [("gmp", [1]), ("lse", [0])]),
            ({"gap": [0, 1]}, [], []),
            ({"gap": [0, 1]}, ["gap"], []),
            ({"gap": [0, 1]}, ["gap", "gmp"], [("gmp", [0, 1])]),
            ({"gap": [0], "gmp": [0, 1]}, ["lse"], [("gap", [1]), ("lse", [0, 1])]),
        ],
    )
    def test_on_paper(self, seeds, poolings, expected):
        result = list(missing_runs(settings(**seeds), poolings))
        assert [(pooling, lacking) for _, pooling, lacking in result] == expected

    def test_the_command_is_that_of_a_run_that_there_is(self):
        ((command, pooling, lacking),) = missing_runs(settings(gmp=[3, 4], gap=[4]))
        assert (command, pooling, lacking) == (f"{RUN} pooling=gmp seed=3", "gap", [3])

    @pytest.mark.parametrize("poolings", [[], ["gap", "gmp"]])
    def test_without_runs_there_is_no_command_to_change(self, poolings):
        assert list(missing_runs([], poolings)) == []

    def test_settings_may_come_one_by_one(self):
        assert list(missing_runs(iter(settings(gap=[0, 1], gmp=[0]))))

    def test_a_run_that_comes_twice(self):
        assert list(missing_runs([*settings(gap=[0]), *settings(gap=[0], gmp=[0])])) == []

    def test_seeds_of_a_sweep_are_words(self):
        assert list(missing_runs([setting("gap", "0"), setting("gmp", 0)])) == []

    def test_what_failed_is_not_lacking_and_lacked_by_the_others(self):
        failed = settings(gap=[1])
        assert list(missing_runs(settings(gap=[0]), failed=failed)) == []
        ((_, pooling, lacking),) = missing_runs(settings(gap=[0], gmp=[0]), failed=failed)
        assert (pooling, lacking) == ("gmp", [1])

    def test_a_few_shot_network_is_made_only_beside_a_run_that_learned(self):
        both = settings(gap=[0], few_shot_1=[0])
        assert list(missing_runs(both, failed=settings(gap=[1]))) == []
        ((_, pooling, lacking),) = missing_runs([*both, *settings(gmp=[1])], failed=settings(gap=[1], gmp=[0]))
        assert (pooling, lacking) == ("few_shot_1", [1])


class TestCommand:
    def test_one_seed(self):
        assert command_for(RUN, "gmp", [3]) == f"{RUN} pooling=gmp seed=3"

    def test_several_seeds_are_a_multirun(self):
        assert command_for(RUN, "gmp", [3, 10]) == f"{RUN} pooling=gmp seed=3,10 -m"

    @pytest.mark.parametrize("flag", ["-m", "--multirun"])
    @pytest.mark.parametrize("seeds", [[3], [3, 10]])
    def test_which_is_said_once(self, flag, seeds):
        numbers = ",".join(str(seed) for seed in seeds)
        assert (
            command_for(f"{RUN} {flag} epochs=3", "gmp", seeds) == f"{RUN} {flag} epochs=3 pooling=gmp seed={numbers}"
        )

    @pytest.mark.parametrize("seeds", [[3], [3, 10]])
    def test_a_sweep_is_one_already(self, seeds):
        numbers = ",".join(str(seed) for seed in seeds)
        given = f"{RUN} sweep=gap_vs_gmp data=cub"
        assert command_for(given, "gmp", seeds) == f"{given} pooling=gmp seed={numbers}"

    @pytest.mark.parametrize(
        "given",
        [
            "pooling=gap seed=0",
            "seed=0 pooling=gap",
            "pooling=gap,gmp seed=0,1,2",
            "seed=0 pooling=gap seed=1",
            "seed= pooling=",
        ],
    )
    def test_its_own_pooling_and_seeds_are_replaced(self, given):
        assert command_for(f"{RUN} {given} data=cub", "gmp", [3]) == f"{RUN} data=cub pooling=gmp seed=3"

    @pytest.mark.parametrize("other", ["data.seed=7", "+tuner.pooling=gap", "train.pooling_lr=1", "tune.seed=4"])
    def test_what_only_looks_like_them_stays(self, other):
        assert command_for(f"{RUN} {other}", "gmp", [3]) == f"{RUN} {other} pooling=gmp seed=3"

    @pytest.mark.parametrize(
        "given", ["pooling.sharpness=4", "pool_site=scores", "pooling_at_test=gmp", "method=cutmix method.alpha=0.5"]
    )
    def test_all_that_makes_the_head_is_replaced(self, given):
        assert command_for(f"{RUN} {given} data=cub", "gmp", [3]) == f"{RUN} data=cub pooling=gmp seed=3"

    def test_a_head_is_said_in_full(self):
        expected = f"{RUN} pooling=lse pooling.sharpness=5 pool_site=scores method=has seed=3"
        assert command_for(RUN, "lse:sharpness=5_on_scores+has", [3]) == expected

    @pytest.mark.parametrize("word", ["maps=[cam,grad_cam]", "machine.data_root=my data", "note='a \"b\"'", "x=$HOME"])
    def test_words_keep_their_quotes(self, word):
        result = command_for(f"{RUN} {shlex.quote(word)}", "gmp", [3])
        assert shlex.split(result) == [*RUN.split(), word, "pooling=gmp", "seed=3"]

    def test_quotes_are_written_where_a_shell_needs_them(self):
        assert command_for(f"{RUN} 'maps=[cam]'", "gmp", [3]) == f"{RUN} 'maps=[cam]' pooling=gmp seed=3"

    def test_it_can_be_changed_again(self):
        once = command_for(f"{RUN} data=cub", "gmp", [3, 10])
        assert command_for(once, "gap", [0]) == f"{RUN} data=cub -m pooling=gap seed=0"

    def test_what_is_missing_fills_the_gap(self):
        (missing,) = missing_runs(settings(gap=[0, 1, 2], gmp=[1]))
        assert command_for(*missing) == f"{RUN} pooling=gmp seed=0,2 -m"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (RUN, f"{RUN} 'maps=[cam,grad_cam]'"),
        (f"{RUN} method=x 'maps=[acol_cam]' seed=1", f"{RUN} method=x seed=1 'maps=[cam,grad_cam]'"),
        (f"{RUN} maps=all maps.rise.masks=9 ++maps.acol_cam.x=1", f"{RUN} 'maps=[cam,grad_cam]'"),
        (f"{RUN} maps.grad_cam.target_layer=a mapsize=3", f"{RUN} maps.grad_cam.target_layer=a mapsize=3 {{}}"),
    ],
)
def test_other_maps(command, expected):
    assert with_maps(command, ["cam", "grad_cam"]) == expected.format("'maps=[cam,grad_cam]'")
