"""Tests of the broker seam: the files here run on every broker, ``memory`` and ``redis`` test one each."""
