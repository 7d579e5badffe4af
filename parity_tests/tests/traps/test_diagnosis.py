"""The diagnosis: each mistake is named by its numbers, alone and in pairs; others are not."""

from contextlib import ExitStack

import pytest
import torch

from parity_tests.ladder.adapters import Port
from parity_tests.traps.catalogue import CATALOGUE
from parity_tests.traps.diagnosis import explain
from parity_tests.traps.relations import relate

TRAPS = {trap.name: trap for trap in CATALOGUE}


def explained(traps, mnist, dtype, data):
    """Return the findings about a port in which some traps are planted."""
    with ExitStack() as stack:
        for trap in traps:
            stack.enter_context(trap.plant())
        of_data = any(trap.rung == "data" for trap in traps)
        loaded = Port(dtype=dtype, folder=data).data() if of_data else mnist

        def make_port():
            port = Port(dtype=dtype)
            port.data = lambda: loaded
            return port

        return explain(make_port, mnist, dtype)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", [name for name, trap in TRAPS.items() if trap.oracle])
def test_a_trap_is_named_first_by_its_numbers(sets, data, name):
    trap = TRAPS[name]
    findings = explained([trap], sets(trap.dtype), trap.dtype, data)
    assert findings[0].mistakes == (trap,), str(findings[0])
    assert findings[0].residual < findings[0].next_best / 10
    assert f"explained by: {name} ({trap.mistake}); residual" in str(findings[0])


def test_the_port_as_it_is_needs_no_explanation(sets, data):
    assert explained([], sets("float64"), "float64", data) == []


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "names",
    [
        ("bytes as pixels", "softmax twice"),
        ("pixels over 256", "glorot_uniform kernels"),
        ("summed loss", "biases never updated"),
        ("not renormalised", "rate of 1e-2"),
        ("clipped at 1e-8", "mean over the classes"),
        ("always divided by 128", "gradients clipped to norm 1"),
        ("momentum", "summed loss"),
        ("biases never updated", "rate of 1e-2"),
        ("momentum", "last batch dropped"),
        ("last batch dropped", "RMSprop: rho 0.99"),
    ],
)
def test_two_traps_at_once_are_both_named(sets, data, names):
    findings = explained([TRAPS[name] for name in names], sets("float64"), "float64", data)
    assert {trap.name for finding in findings for trap in finding.mistakes} == set(names)


@pytest.mark.parametrize(
    ("names", "mistake"),
    [
        (("momentum", "weight decay"), "weight decay is 0.01, expected none; the momentum is 0.9"),
        (("rate of 0.003", "weight decay"), "the learning rate is 0.003, expected 0.001; the weig"),
    ],
)
def test_constants_of_sgd_are_estimated_together(sets, data, names, mistake):
    (finding,) = explained([TRAPS[name] for name in names], sets("float64"), "float64", data)
    assert mistake in str(finding)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("name", "relation"),
    [
        ("shuffled once", "its numbers are the right ones in another order"),
        ("weights of nn.Linear", "no simple relation to what it should be"),
        pytest.param(
            *("always shuffled", "no simple relation to what it should be"), marks=pytest.mark.soak
        ),
    ],
)
def test_a_draw_that_nobody_knows_is_unexplained(sets, data, name, relation):
    (finding,) = explained([TRAPS[name]], sets("float32"), "float32", data)
    assert finding.mistakes == ()
    assert f"{TRAPS[name].rung}: unexplained by any known mistake" in str(finding)
    assert str(finding).endswith(relation)


def test_a_port_that_raises_is_not_given_a_name(sets, data, monkeypatch):
    def raises(*arguments):
        raise ValueError("no luck")

    monkeypatch.setattr("torch_port.training.sparse_categorical_crossentropy", raises)
    (finding,) = explained([], sets("float64"), "float64", data)
    assert str(finding) == "loss: it raised ValueError: no luck"


@pytest.mark.parametrize(
    ("change", "relation"),
    [
        (lambda a, b: -a, "it is -1 times what it should be"),
        (lambda a, b: a + 0.5, "it is 0.5 more than it should be"),
        (lambda a, b: a.T, "it is transposed"),
        (lambda a, b: a.reshape(a.shape[::-1]).T, "it is reshaped where it should be transposed"),
        (lambda a, b: a[::-1], "its numbers are the right ones in another order"),
        (lambda a, b: b, "it is what b should be"),
        (lambda a, b: 0 * a, "it is 0 throughout"),
        (lambda a, b: a[:2], "its shape is (2, 3), and should be (3, 3)"),
        (lambda a, b: a / (a > 0), "5 of its numbers are not finite"),
    ],
)
def test_a_simple_relation_is_found(change, relation):
    rng = torch.Generator().manual_seed(3)
    a, b = (torch.randn((3, 3), generator=rng, dtype=torch.float64).numpy() for _ in "ab")
    with pytest.warns(RuntimeWarning) if "finite" in relation else pytest.MonkeyPatch.context():
        judged = change(a, b)
    relations = list(relate(judged, {"a": a, "b": b}))
    assert relation in relations or ("finite" in relation and "not finite" in relations[0])


def test_losses_one_step_ahead_are_recognised():
    losses = torch.linspace(3, 1, 9, dtype=torch.float64).exp().numpy()
    assert "it is one step ahead" in list(relate(losses[1:], {"a": losses[:-1]}))


def test_a_mistake_outside_the_catalogue_is_unexplained_and_described(sets, data, monkeypatch):
    right = torch.mean
    monkeypatch.setattr(torch, "mean", lambda losses: 3 * right(losses))
    (finding,) = explained([], sets("float64"), "float64", data)
    assert (finding.rung, finding.mistakes) == ("gradients", ())
    assert "it is 3 times what it should be" in finding.relations
