"""The words of the field as frozen dataclasses, the topology document, records and errors; imports nothing of ours."""
