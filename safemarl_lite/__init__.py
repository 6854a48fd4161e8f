"""safemarl_lite: a workbook on safe multi-agent reinforcement learning."""
