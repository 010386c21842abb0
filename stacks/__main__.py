"""The Pulumi program of every stack: what the stack's config and its topology say is declared, and exported a plan at a time."""

from pathlib import Path

from dr_provider.resources.component import declare

declare(Path(__file__).parent)
