"""What the commands do: recipes become runs. The wiring between the rooms; nothing is imported until it is asked for."""
