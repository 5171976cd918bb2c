"""The broker on a real server that fails: connections die, memory fills up, keys vanish, other programs write."""
