// Whether two methods differ on these queries: the tests of the tables, for any pair.

const RESAMPLES = 9999;

// A small generator with a fixed seed (mulberry32): the same pair gives the same numbers every time.
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

// Queries with a value in both, as {query, first, second}.
function pairsOf(first, second) {
  const found = [];
  for (let query = 0; query < Math.min(first.length, second.length); query++) {
    if (first[query] !== null && second[query] !== null)
      found.push({ query, first: first[query], second: second[query] });
  }
  return found;
}

// Mean difference, 95 % percentile bootstrap interval over queries, and the two-sided paired randomisation test, which
// swaps the two methods query by query (Smucker, Allan, Carterette, CIKM 2007).
function pairedDifference(pairs) {
  const count = pairs.length,
    gains = Float64Array.from(pairs, (pair) => pair.second - pair.first);
  const mean = gains.reduce((sum, gain) => sum + gain, 0) / count;
  const same = 1e-9,
    above = gains.filter((gain) => gain > same).length,
    below = gains.filter((gain) => gain < -same).length;
  const random = generator(1),
    means = new Float64Array(RESAMPLES);
  let extreme = 0;
  for (let sample = 0; sample < RESAMPLES; sample++) {
    let drawn = 0,
      swapped = 0;
    for (let query = 0; query < count; query++) {
      drawn += gains[Math.floor(random() * count)];
      swapped += random() < 0.5 ? gains[query] : -gains[query];
    }
    means[sample] = drawn / count;
    if (Math.abs(swapped / count) >= Math.abs(mean) - 1e-12) extreme++;
  }
  means.sort();
  const at = (share) => means[Math.round(share * (RESAMPLES - 1))];
  return {
    mean,
    low: at(0.025),
    high: at(0.975),
    p: (extreme + 1) / (RESAMPLES + 1),
    above,
    below,
    equal: count - above - below,
    queries: count,
  };
}
