"""One file per trial; its name is the trial's."""
