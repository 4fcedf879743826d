"""X-ray physics, backgrounds and composition: what the fluoroscope of the twin sees."""
