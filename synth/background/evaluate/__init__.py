"""How good generated backgrounds are: fidelity, texture, response to prompts, likeness."""
