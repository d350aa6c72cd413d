"""Attacks on a cell, from inside: `vivary doctor --attack` sends them to this installation, one script each."""
