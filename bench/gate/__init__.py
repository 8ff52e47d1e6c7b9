"""The gate: whether code became worse, told from noise.

Facts that depend on nothing but the code are held against each other as they are. Latency and memory are taken in
duels, a fresh process of either side working in turn, and held against what identical code shows on the same machine.
"""
