"""VLAD over RootSIFT (Jegou et al., CVPR 2010; power-law normalisation and whitening: Jegou and Chum, ECCV 2012)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import faiss
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from bench.errors import BenchError
from bench.files import write_bytes

logger = logging.getLogger(__name__)

FORMAT = "vlad-1"
CHUNK = 64  # images described at once: their one-hot assignments and residuals stay in cache
SAMPLE = 200_000  # descriptors that k-means sees at most
RANK = 1e-6  # a principal component counts when its variance is above this share of the first one's

Array = NDArray[np.float32]


class Source(Protocol):
    """Local descriptors of n images, such as a LocalStore."""

    def __len__(self) -> int: ...

    def chunks(self, size: int, *, locals: int | None = None) -> Iterator[tuple[Array, NDArray[np.bool_]]]:
        """Descriptors (n, L, D) and where they are valid (n, L), for `size` images at a time, in order."""


@dataclass(frozen=True)
class Vocabulary:
    """What turns the local descriptors of an image into its global descriptor.

    centroids: (K, D). projection: (G, K * D), PCA and whitening in one. bias: (G,), which centres it.
    locals: how many local descriptors an image it reads, strongest first.
    """

    centroids: Array
    projection: Array
    bias: Array
    locals: int

    @classmethod
    def learn(
        cls, source: Source, *, centroids: int = 64, width: int = 256, locals: int = 500, seed: int = 0
    ) -> Vocabulary:
        """Learns K centroids by k-means, then PCA-whitening of the VLADs to `width` dimensions.

        The same source, seed and libraries give the same vocabulary. The width is less than asked for where the
        source supports less: it stays below the number of images with descriptors, and below their rank.
        Raises BenchError when there are fewer descriptors than centroids, or fewer than 3 images.
        """
        words = _kmeans(_sample(source, locals, seed), centroids, seed)
        vlads = np.concatenate([vlad(part, valid, words) for part, valid in source.chunks(CHUNK, locals=locals)])
        projection, bias = _whitening(vlads[vlads.any(axis=1)], width)
        if len(bias) < width:
            logger.warning("global descriptors are %d wide, not %d: too few images to learn from", len(bias), width)
        return cls(words, projection, bias, locals)

    @property
    def dim(self) -> int:
        """Width G of the global descriptors."""
        return len(self.bias)

    @property
    def fingerprint(self) -> str:
        """A hash of everything that the descriptors depend on."""
        digest = hashlib.sha256(f"{FORMAT} {self.locals} {self.centroids.shape}".encode())
        for part in (self.centroids, self.projection, self.bias):
            digest.update(np.ascontiguousarray(part, dtype="<f4").tobytes())
        return digest.hexdigest()

    def describe(self, descriptors: Array, valid: NDArray[np.bool_]) -> Array:
        """Global descriptors (n, G), of unit length, from local ones (n, L, D) and where they are valid (n, L).

        An image without any valid local descriptor gets zeros: it is as similar to one image as to another.
        """
        if descriptors.ndim != 3 or descriptors.shape[2] != self.centroids.shape[1]:
            raise BenchError(
                f"local descriptors of shape {descriptors.shape}",
                wanted=f"(n, L, {self.centroids.shape[1]}), as the vocabulary was learnt",
                cure="Extract them as those of the vocabulary, or learn another vocabulary.",
            )
        described = vlad(descriptors[:, : self.locals], valid[:, : self.locals], self.centroids)
        empty = ~described.any(axis=1)
        whitened = described @ self.projection.T + self.bias
        whitened[empty] = 0
        return _unit(whitened)

    def save(self, path: Path) -> None:
        """Writes it as safetensors, whole or not at all."""
        tensors = {"centroids": self.centroids, "projection": self.projection, "bias": self.bias}
        content = save(tensors, metadata={"format": FORMAT, "locals": json.dumps(self.locals)})
        write_bytes(path, content)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Reads what `save` wrote; BenchError when the file is missing, damaged, or something else."""
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                words, projection, bias = (file.get_tensor(name) for name in ("centroids", "projection", "bias"))
            locals = json.loads(metadata.get("locals", "null"))
        except Exception as error:  # whatever safetensors and numpy raise on a header of any content
            raise _no_vocabulary(path, f"{error!s:.200}") from error
        shapes = projection.shape == (*bias.shape, words.size)
        if metadata.get("format") != FORMAT or not shapes or (words.ndim, bias.ndim) != (2, 1):
            raise _no_vocabulary(path, f"format {metadata.get('format')!r:.80}, projection of shape {projection.shape}")
        if (
            {one.dtype for one in (words, projection, bias)} != {np.dtype(np.float32)}
            or not words.size
            or not bias.size
        ):
            raise _no_vocabulary(path, "not of float32, or empty")
        if type(locals) is not int or not 0 < locals < 1 << 31:
            raise _no_vocabulary(path, "without the number of its local descriptors")
        return cls(words, projection, bias, locals)


def vlad(descriptors: Array, valid: NDArray[np.bool_], centroids: Array) -> Array:
    """VLADs (n, K * D) of descriptors (n, L, D) where valid (n, L), over centroids (K, D).

    For each centroid the sum of x - centroid over the x nearest to it, brought to unit length so that repeated
    structure does not drown the rest; then the signed square root of every component, then unit L2 norm. Without a
    valid descriptor: zeros. Source: Jegou et al., CVPR 2010; the two normalisations: Arandjelovic and Zisserman, All
    about VLAD, CVPR 2013, section 3.
    """
    nearness = descriptors @ centroids.T - np.square(centroids).sum(axis=1) / 2
    one_hot = nearness.argmax(axis=2)[:, None, :] == np.arange(len(centroids))[:, None]
    one_hot &= valid[:, None, :]
    members = one_hot.astype(np.float32)  # (n, K, L)
    residuals = members @ descriptors - members.sum(axis=2, keepdims=True) * centroids
    residuals = _unit(residuals).reshape(len(descriptors), centroids.size)
    return _unit(np.copysign(np.sqrt(np.abs(residuals)), residuals))


def _unit(rows: Array) -> Array:
    norm = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(norm > 0, norm, 1), dtype=np.float32)


def _sample(source: Source, locals: int, seed: int) -> Array:
    """At most SAMPLE valid descriptors, as many from every image."""
    generator = np.random.default_rng(seed)
    share = max(1, SAMPLE // max(1, len(source)))
    taken = [
        part[i, generator.permutation(np.flatnonzero(valid[i]))[:share]]
        for part, valid in source.chunks(CHUNK, locals=locals)
        for i in range(len(part))
    ]
    return np.concatenate(taken) if taken else np.empty((0, 0), dtype=np.float32)


def _kmeans(sample: Array, centroids: int, seed: int) -> Array:
    if len(sample) < centroids:
        raise BenchError(
            f"{len(sample)} local descriptors to learn {centroids} centroids from",
            wanted="at least as many descriptors as centroids",
            cure="Learn from more images.",
        )
    kmeans = faiss.Kmeans(
        sample.shape[1], centroids, niter=25, seed=seed, min_points_per_centroid=1, max_points_per_centroid=SAMPLE
    )
    kmeans.train(sample)
    return np.ascontiguousarray(kmeans.centroids)


def _whitening(vlads: Array, width: int) -> tuple[Array, Array]:
    """The projection (G, K * D) and bias (G,) that make the covariance of `vlads` (n, K * D) the identity."""
    if len(vlads) < 3:
        raise BenchError(
            f"{len(vlads)} images with descriptors to learn the whitening from",
            wanted="some hundreds, and 3 at the very least",
            cure="Learn from more images.",
        )
    pca = faiss.PCAMatrix(vlads.shape[1], min(width, len(vlads) - 1, vlads.shape[1]), -0.5)
    pca.train(vlads)
    variances = faiss.vector_to_array(pca.eigenvalues)[: pca.d_out]
    rank = int(np.count_nonzero(variances > RANK * variances[0]))
    scale = np.float32(np.sqrt(len(vlads)))  # faiss whitens the sum over images, not the mean
    projection = faiss.vector_to_array(pca.A).reshape(pca.d_out, pca.d_in)[:rank] * scale
    return projection, faiss.vector_to_array(pca.b)[:rank] * scale


def _no_vocabulary(path: Path, problem: str) -> BenchError:
    return BenchError(
        f"cannot read the vocabulary {path} ({problem})",
        wanted="a whole vocabulary file",
        cure="Delete it: it is learnt again where the training images are at hand.",
    )
