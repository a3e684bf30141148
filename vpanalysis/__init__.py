"""Decides, with evidence, whether an AI coding lane may get more traffic."""
