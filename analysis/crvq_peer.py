"""CRVQ as published, in plain torch: autograd, torch.optim.Adam, candidates of all rows at once. Nothing of rdtools is used."""

# ruff: noqa: N803, N806 (mathematical capitals)

from __future__ import annotations

import torch

GROUP = 8


def k_means(x: torch.Tensor, words: int, iterations: int, generator: torch.Generator) -> torch.Tensor:
    """Centroids from random data points, until ten iterations change nothing; centroids without vectors stay."""
    c = x[torch.randperm(len(x), generator=generator)[:words]].clone()
    for iteration in range(iterations):
        index = nearest(x, c)
        count = torch.bincount(index, minlength=words).to(x.dtype)
        sums = torch.zeros_like(c).index_add_(0, index, x)
        new = torch.where(count[:, None] > 0, sums / count.clamp(min=1)[:, None], c)
        if iteration % 10 == 9 and torch.allclose(new, c, rtol=1e-6, atol=1e-8):
            return new
        c = new
    return c


def nearest(x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """The nearest centroid of each vector."""
    return torch.addmm((c**2).sum(dim=1)[None], x, c.T, alpha=-2).argmin(dim=1)


def importance(W: torch.Tensor, H: torch.Tensor, *, bits: int, iterations: int, generator: torch.Generator) -> torch.Tensor:
    """``mean_i R_ij² H_jj`` with R what one codebook in the natural order, without scales, leaves of W."""
    x = W.reshape(-1, GROUP)
    c = k_means(x, 2**bits, iterations, generator)
    residual = (x - c[nearest(x, c)]).reshape(W.shape)
    return (residual**2).mean(dim=0) * H.diagonal()


def quantize(
    W: torch.Tensor,
    H: torch.Tensor,
    *,
    order: torch.Tensor,
    critical: int,
    books: int,
    bits: int = 8,
    epochs: int = 10,
    steps: int = 100,
    iterations: int = 100,
    tolerance: float = 0.01,
    lr: float = 1e-4,
    seed: int = 0,
) -> torch.Tensor:
    """Ŵ of a layer (m, n) float32 whose channels stand in groups by `order`, the first `critical` groups with all codebooks."""
    generator = torch.Generator().manual_seed(seed)
    W, H = W[:, order], H[order][:, order]
    m, n = W.shape
    groups, words = n // GROUP, 2**bits
    counts = [groups] + [critical] * (books - 1)
    scales = W.norm(dim=1, keepdim=True) + 1e-9
    left = (W / scales).reshape(m, groups, GROUP).clone()
    codebooks, codes = [], []
    for count in counts:
        x = left[:, :count].reshape(-1, GROUP)
        c = k_means(x, words, iterations, generator)
        index = nearest(x, c)
        left[:, :count] -= c[index].reshape(m, count, GROUP)
        codebooks.append(c)
        codes.append(index.reshape(m, count))
    parameters = [scales.clone().requires_grad_(), *(c.clone().requires_grad_() for c in codebooks)]
    scales, codebooks = parameters[0], parameters[1:]
    adam = torch.optim.Adam(parameters, lr=lr, betas=(0.0, 0.95), amsgrad=True)

    def values() -> torch.Tensor:
        total = codebooks[0][codes[0]]
        for c, index in zip(codebooks[1:], codes[1:], strict=True):
            total = torch.cat([total[:, : index.shape[1]] + c[index], total[:, index.shape[1] :]], dim=1)
        return scales * total.reshape(m, n)

    best = float("inf")
    for _ in range(epochs):
        for step in range(steps):
            delta = values() - W
            loss = (delta @ H).flatten() @ delta.flatten() / m
            if step == 0:
                if loss.item() / best > 1 - tolerance:
                    return values().detach()[:, torch.argsort(order)]
                best = min(best, loss.item())
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
        with torch.no_grad():
            E = W - values()
            for group in torch.randperm(groups, generator=generator).tolist():
                at = slice(GROUP * group, GROUP * group + GROUP)
                G = H[at, at]
                for book in torch.randperm(len(counts), generator=generator).tolist():
                    if group >= counts[book]:
                        continue
                    c, index = codebooks[book], codes[book][:, group]
                    old = c[index]
                    p = E @ H[:, at] + scales * (old @ G)
                    quadratic = scales**2 * ((c @ G) * c).sum(dim=1)[None]
                    change = quadratic - 2 * scales * (p @ c.T)
                    index = change.argmin(dim=1)
                    codes[book][:, group] = index
                    E[:, at] -= scales * (c[index] - old)
    return values().detach()[:, torch.argsort(order)]
