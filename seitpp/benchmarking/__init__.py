"""What the benchmarks in tools/analysis_tools/ share: timing in turns, training steps of a config, photographs."""
