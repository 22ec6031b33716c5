"""Second moments of layer inputs: capture, storage, spectra."""
