"""Label correction written a second time, straight from the equations: whole graphs, deep copies, no economy."""

import copy

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from ebomlc_dist.methods.contract import PairedBatch
from ebomlc_dist.testing.problem import Learner


def soft_ce(logits: Tensor, soft: Tensor) -> Tensor:
    return -(soft * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()


def upper_objective(config, main, meta, batch: PairedBatch) -> Tensor:
    logits, features = main(batch.clean.images)
    meta_logits = meta(features.detach(), batch.clean.labels)
    rho, labels = config.mixture, batch.clean.labels
    if config.mixture_kind == "probability":
        mixed = rho * logits.softmax(1) + (1 - rho) * meta_logits.softmax(1)
        return functional.nll_loss(mixed.log(), labels)
    if config.mixture_kind == "loss":
        main_loss, meta_loss = (functional.cross_entropy(scores, labels) for scores in (logits, meta_logits))
        return rho * main_loss + (1 - rho) * meta_loss
    other = meta_logits if config.mixture_kind == "logit" else meta_logits.softmax(1)
    return functional.cross_entropy(rho * logits + (1 - rho) * other, labels)


def lower_objective(main, batch: PairedBatch, soft: Tensor) -> Tensor:
    loss = soft_ce(main(batch.noisy.images)[0], soft)
    if batch.lower_clean is None:
        return loss
    n, m = len(batch.noisy.labels), len(batch.lower_clean.labels)
    clean = functional.cross_entropy(main(batch.lower_clean.images)[0], batch.lower_clean.labels)
    return (n * loss + m * clean) / (n + m)


def grads(loss: Tensor, model) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters()), retain_graph=True, materialize_grads=True))


def dot(a: list[Tensor], b: list[Tensor]) -> Tensor:
    return sum(((x * y).sum() for x, y in zip(a, b, strict=True)), torch.zeros((), dtype=torch.float64))


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])


def gap_gradients(config, main, meta, rate: float, batch: PairedBatch) -> tuple[list[Tensor], list[Tensor]]:
    """∇_wQ and ∇_αQ."""
    features = main(batch.noisy.images)[1].detach()
    soft = meta(features, batch.noisy.labels).softmax(1)
    lower_here = lower_objective(main, batch, soft)
    lower_w = grads(lower_here, main)

    ahead = copy.deepcopy(main)
    for _ in range(config.inner_steps):
        step = grads(lower_objective(ahead, batch, soft.detach()), ahead)
        with torch.no_grad():
            for parameter, g in zip(ahead.parameters(), step, strict=True):
                parameter -= rate * g
    lower_ahead = lower_objective(ahead, batch, soft)
    gap_a = grads(lower_here - lower_ahead, meta)
    gap_w = lower_w
    if config.value_gradient == "difference":
        gap_w = [a - b for a, b in zip(lower_w, grads(lower_ahead, ahead), strict=True)]
    return gap_w, gap_a


def ebomlc_directions(learner: Learner, batch: PairedBatch) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """d_w, d_α and β at the learner's present point, by eqs. (8)–(14)."""
    config = learner.method.config
    main = copy.deepcopy(learner.networks["main"].module)
    meta = copy.deepcopy(learner.networks["meta"].module)
    rate = float(learner.optimizers["main"].rate)

    upper = upper_objective(config, main, meta, batch)
    upper_w, upper_a = grads(upper, main), grads(upper, meta)

    gap_w, gap_a = gap_gradients(config, main, meta, rate, batch)
    norm = dot(gap_w, gap_w) + dot(gap_a, gap_a)
    beta = torch.clamp(config.barrier_strength - dot(upper_w, gap_w) / norm, min=0)
    scaled = config.noisy_scale * beta
    return (
        [f + scaled * q for f, q in zip(upper_w, gap_w, strict=True)],
        [f + scaled * q for f, q in zip(upper_a, gap_a, strict=True)],
        beta,
    )


def mlc_d_directions(learner: Learner, batch: PairedBatch) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """d_w, d_α and β at the learner's present point, by eqs. (6) and (7)."""
    config = learner.method.config
    main = copy.deepcopy(learner.networks["main"].module)
    meta = copy.deepcopy(learner.networks["meta"].module)
    upper_w = grads(functional.cross_entropy(main(batch.clean.images)[0], batch.clean.labels), main)
    gap_w, gap_a = gap_gradients(config, main, meta, float(learner.optimizers["main"].rate), batch)
    norm = dot(gap_w, gap_w) + dot(gap_a, gap_a)
    beta = torch.clamp((config.barrier_strength * norm - dot(upper_w, gap_w)) / norm, min=0)
    return [f + beta * q for f, q in zip(upper_w, gap_w, strict=True)], [beta * q for q in gap_a], beta


def mlc_directions(learner: Learner, batch: PairedBatch, left: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
    """d_w and D at the learner's present point, by differentiating F through the look-ahead step itself.

    ``left``: D_{t−1} (P_meta,), where this step is not the first of its window.
    """
    config, rule = learner.method.config, learner.optimizers["main"].rule()
    main = copy.deepcopy(learner.networks["main"].module)
    meta = copy.deepcopy(learner.networks["meta"].module)
    rate = float(rule.rate)

    def upper(parameters: dict[str, Tensor]) -> Tensor:
        logits = functional_call(main, parameters, (batch.clean.images,))[0]
        return functional.cross_entropy(logits, batch.clean.labels)

    soft = meta(main(batch.noisy.images)[1].detach(), batch.noisy.labels).softmax(1)
    weights = dict(main.named_parameters())
    lower = lower_objective(main, batch, soft)
    lower_w = torch.autograd.grad(lower, list(weights.values()), create_graph=True)
    pieces = learner.networks["main"].named(rule.velocity).values()
    ahead = {}
    for (name, weight), gradient, velocity in zip(weights.items(), lower_w, pieces, strict=True):
        step = gradient
        if config.look_ahead == "sgd":
            decayed = gradient + rule.weight_decay * weight
            step = decayed + rule.momentum * velocity
            step = decayed + rule.momentum * step if rule.nesterov else step
        ahead[name] = weight - rate * step
    hypergradient = flat(grads(upper(ahead), meta))
    if left is not None:
        here = flat(list(torch.autograd.grad(upper(weights), list(weights.values()))))
        there = {name: w.detach().requires_grad_() for name, w in ahead.items()}
        v = flat(list(torch.autograd.grad(upper(there), list(there.values()))))
        hypergradient = hypergradient + ((1 - rate) * v @ here / (here @ here)) * left
    return [g.detach() for g in lower_w], hypergradient
