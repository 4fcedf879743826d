"""`mmdtwin navigate`: runs, reports, telemetry and pictures."""
