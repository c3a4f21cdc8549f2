"""Whisper beside transformers: features, encoder states, logits and texts."""

import numpy as np
import pytest

from numbatorch.pipelines.log_mel import LogMel

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("size", [3000, 480_000, 700_000])
def test_features_equal_those_of_the_extractor(bins: int, size: int) -> None:
    rng = np.random.default_rng(size)
    loudness = 10.0 ** rng.uniform(-5, -1, size // 1000).repeat(1000)
    samples = (rng.standard_normal(size) * loudness).astype(np.float32)
    extractor = transformers.WhisperFeatureExtractor(feature_size=bins)
    kept = {"padding": "longest", "truncation": False} if size > 480_000 else {}
    theirs = extractor(samples, sampling_rate=16000, return_tensors="np", **kept)
    expected = theirs["input_features"][0]
    found = LogMel(bins)(samples, least=3000)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
