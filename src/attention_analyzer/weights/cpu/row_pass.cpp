// One pass over the attention weights of one site, each tile of scores made and read while it is in the cache.
//
// For some rows of one head: scores by a register-blocked product with packed keys; softcap, bias and masks where there
// are any; exponentials, sums, entropy and distance in one sweep over each row; group, window and offset weights of the
// finished row; and what keys receive from all these rows together. Rows lie in a buffer that fits the level-2 cache.
//
// Compiled into wheels (setup.py) or on the user's machine (compiled.py), with nothing but a C++17 compiler: vectors are
// those of GCC and Clang, threads are those of the OpenMP runtime that torch already uses, where it has one.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#if defined(_WIN32)
#define EXPORTED extern "C" __declspec(dllexport)
#else
#define EXPORTED extern "C"
#endif

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, VECTORS = 4;
#elif defined(__AVX__)
constexpr int LANES = 8, VECTORS = 2;
#elif defined(__aarch64__)
constexpr int LANES = 4, VECTORS = 4;
#else
constexpr int LANES = 4, VECTORS = 2;
#endif
constexpr int ROWS = 6;     // rows of one register block: ROWS x VECTORS accumulators
constexpr int PANEL = 64;   // keys packed together, as [channel][PANEL]
constexpr float HIDDEN = -1e30f;
constexpr float INFINITE = std::numeric_limits<float>::infinity();
constexpr double LN2 = 0.693147180559945309417;

using Floats = float __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
using Ints = int32_t __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
using Bytes = uint8_t __attribute__((vector_size(LANES), aligned(1), may_alias));

inline Floats load(const float* from) { return *reinterpret_cast<const Floats*>(from); }
inline void store(float* to, Floats values) { *reinterpret_cast<Floats*>(to) = values; }
inline Floats all(float value) { return value - Floats{}; }  // x - 0 is x, also for -0; x + 0 is not
inline Ints all_ints(int32_t value) { return Ints{} + value; }
inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }
inline Floats smaller(Floats a, Floats b) { return a < b ? a : b; }

inline float sum_of(Floats v) {
  float total = 0;
  for (int i = 0; i < LANES; ++i) total += v[i];
  return total;
}
inline float largest_of(Floats v) {
  float found = v[0];
  for (int i = 1; i < LANES; ++i) found = found > v[i] ? found : v[i];
  return found;
}
inline float smallest_of(Floats v) {
  float found = v[0];
  for (int i = 1; i < LANES; ++i) found = found < v[i] ? found : v[i];
  return found;
}

inline Ints lanes() {
  Ints found{};
  for (int i = 0; i < LANES; ++i) found[i] = i;
  return found;
}

// 2^t for t <= 0, to 2e-7 relative; zero below the normal numbers.
inline Floats power_of_two(Floats t) {
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, held in the low bits
  Floats shifted = t + magic;
  Floats f = t - (shifted - magic);
  Floats p = all(1.3333558146e-3f);
  p = p * f + 9.6181291076e-3f;
  p = p * f + 5.5504108664e-2f;
  p = p * f + 2.4022650696e-1f;
  p = p * f + 6.9314718056e-1f;
  p = p * f + 1.0f;
  Ints bits = reinterpret_cast<Ints&>(p) + (reinterpret_cast<Ints&>(shifted) << 23);
  return t < -125.0f ? Floats{} : reinterpret_cast<Floats&>(bits);
}

// tanh as the quotient of two polynomials, a few units in the last place (the form used by Eigen).
inline Floats tanh_of(Floats x) {
  x = smaller(larger(x, all(-7.90531110763549805f)), all(7.90531110763549805f));
  Floats y = x * x;
  Floats p = all(-2.76076847742355e-16f);
  p = p * y + 2.00018790482477e-13f;
  p = p * y + -8.60467152213735e-11f;
  p = p * y + 5.12229709037114e-08f;
  p = p * y + 1.48572235717979e-05f;
  p = p * y + 6.37261928875436e-04f;
  p = p * y + 4.89352455891786e-03f;
  Floats q = all(1.19825839466702e-06f);
  q = q * y + 1.18534705686654e-04f;
  q = q * y + 2.26843463243900e-03f;
  q = q * y + 4.89352518554385e-03f;
  return x * p / q;
}

// Up to LANES values; what lies past the end is not touched.
inline Floats load_some(const float* from, int64_t count) {
  if (count >= LANES) return load(from);
  Floats found{};
  for (int64_t i = 0; i < count; ++i) found[i] = from[i];
  return found;
}
inline Ints load_some(const int32_t* from, int64_t count) {
  if (count >= LANES) return *reinterpret_cast<const Ints*>(from);
  Ints found{};
  for (int64_t i = 0; i < count; ++i) found[i] = from[i];
  return found;
}
// 0 or -1 a lane.
inline Ints load_flags(const uint8_t* from, int64_t count) {
  if (count >= LANES) return __builtin_convertvector(*reinterpret_cast<const Bytes*>(from), Ints) != 0;
  Ints found{};
  for (int64_t i = 0; i < count; ++i) found[i] = from[i] ? -1 : 0;
  return found;
}

}  // namespace

extern "C" {

// Written by compiled.py, field for field. Strides count elements; a null pointer means "none".
struct Pass {
  const float* query;         // [batch][head][query][channel], channels contiguous
  int64_t query_batch, query_head, query_row;
  const float* key;           // packed: [batch * key head][panel][channel][PANEL]
  const float* bias;          // bias + batch, head and row strides + key
  int64_t bias_batch, bias_head, bias_row;
  const float* sinks;
  int64_t sinks_batch, sinks_head, sinks_row;
  const uint8_t* mask;        // True where seen; keys contiguous
  int64_t mask_batch, mask_head, mask_row;
  const uint8_t* key_seen;    // [batch][key]
  const int32_t* query_segment;  // [batch][query]
  const int32_t* key_segment;    // [batch][key]
  const int64_t* first_key;   // [batch]: no query sees a key before it,
  const int64_t* last_key;    // nor from here on
  const uint8_t* valid;       // [batch][query]: rows that count; others are left out
  int64_t batch, heads, key_heads, queries, keys, channels;
  int64_t lower, upper;       // query i sees keys i + lower ... i + upper
  int64_t diagonal;           // query i is key i + diagonal
  double scaling, softcap;    // softcap 0 means none
  float* entropy;             // results are [batch * head][query]
  float* largest;
  float* smallest;
  float* total;
  float* strongest;
  float* distance;
  const float* apart;         // apart[j - own] = |j - own|
  const int64_t* offsets;
  float* offset_weights;      // [offset][batch * head][query]
  const int64_t* windows;
  float* window_weights;
  const float* groups;        // [group][batch or 1][padded key]: 1 for keys of the group
  int64_t groups_batch;       // 0 if all texts share them
  float* group_weights;
  const int32_t* match_queries;  // [match][batch][query]: the query's label, negative for none
  const int32_t* match_keys;     // [match][batch][key]: keys in the order of their labels
  const int64_t* match_starts;   // [match][batch][match_labels + 1]: where each label's keys start in there
  int64_t match_labels;
  const int64_t* match_among;    // [match]: 0 all keys, 1 those at other positions, 2 earlier ones
  float* match_weights;          // [match][batch * head][query]; NaN where the query sees no such key
  int64_t offset_count, window_count, group_count, match_count;
  float* received;            // [chunk][batch * head][padded key]
  int64_t chunks, chunk_rows; // rows of a head that are one piece of work
  int64_t row_block;          // rows held at once, a multiple of ROWS
  float* scratch;             // [thread][scratch_size]
  int64_t scratch_size, threads;
  const int32_t* query_runs;  // [batch][query]: the query's run, negative for none
  const int64_t* key_runs;    // [batch][key_run_count + 1]: where each run of keys starts
  int64_t query_run_count, key_run_count;
  const uint8_t* left_out;    // [batch][key]: keys that are left out of what is "without"; or null
  double* run_sums;           // [batch * head][query_run_count + chunks][key_run_count], zero at first; a chunk's
  double* run_sums_without;   // rows are moved by its number, so that no two chunks write to one row
  float* offset_sums;         // [chunk][batch * head][offset_size]: weights at key - own + offset_origin
  float* offset_sums_without;
  int64_t offset_size, offset_origin;
  void* parallel;             // GOMP_parallel of the running OpenMP, or null
};

}  // extern "C"

namespace {

struct Group {
  const float* values;
  std::vector<int32_t> members;  // used when there are few
  bool dense;
};

struct Row {
  int64_t from, to;  // keys it can see by the band and the text's run
  float highest, lowest;
  float factor;      // what turns an exponential into a weight
  float without;     // the same where some keys are left out
};

// ROWS x (VECTORS * LANES) scores for one panel; keeps running extremes where the caller says all are seen.
template <bool EXTREMES>
inline void multiply(const float* query, const float* panel, int64_t channels, float* out, int64_t pitch,
                     float* highest, float* lowest) {
  for (int part = 0; part < PANEL; part += VECTORS * LANES) {
    Floats sums[ROWS][VECTORS] = {};
    const float* keys = panel + part;
    for (int64_t c = 0; c < channels; ++c) {
      Floats column[VECTORS];
#pragma GCC unroll 8
      for (int v = 0; v < VECTORS; ++v) column[v] = load(keys + c * PANEL + v * LANES);
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; ++r) {
        const Floats value = all(query[r * channels + c]);
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; ++v) sums[r][v] += value * column[v];
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < VECTORS; ++v) store(out + r * pitch + part + v * LANES, sums[r][v]);
      if (EXTREMES) {
        Floats high = load(highest + r * LANES), low = load(lowest + r * LANES);
#pragma GCC unroll 8
        for (int v = 0; v < VECTORS; ++v) {
          high = larger(sums[r][v], high);
          low = smaller(sums[r][v], low);
        }
        store(highest + r * LANES, high);
        store(lowest + r * LANES, low);
      }
    }
  }
}

class Worker {
 public:
  Worker(const Pass& pass, const std::vector<Group>& groups, float* scratch)
      : p(pass), groups(groups), panels((pass.keys + PANEL - 1) / PANEL), pitch(panels * PANEL + LANES) {
    query = scratch;
    highest = query + p.row_block * p.channels;
    lowest = highest + p.row_block * LANES;
    scores = lowest + p.row_block * LANES;
    rows.resize(p.row_block);
    log2e_scaling = float(p.scaling / LN2);
    changes = p.bias || p.mask || p.key_seen || p.query_segment || p.softcap != 0;
    if (p.run_sums) of_run.resize(panels * PANEL);
    if (p.run_sums_without) of_run_without.resize(panels * PANEL);
  }

  // Rows chunk * chunk_rows ... of one head.
  void run(int64_t task) {
    chunk = task % p.chunks;
    flat = task / p.chunks;
    text = flat / p.heads;
    head = flat % p.heads;
    float* column = p.received ? p.received + (chunk * p.batch * p.heads + flat) * panels * PANEL : nullptr;
    if (column) std::memset(column, 0, sizeof(float) * panels * PANEL);
    if (p.left_out) {
      left_out.clear();
      for (int64_t j = 0; j < p.keys; ++j)
        if (p.left_out[text * p.keys + j]) left_out.push_back(int32_t(j));
    }
    for (float* sums : {p.offset_sums, p.offset_sums_without})
      if (sums) std::memset(offsets_of(sums), 0, sizeof(float) * p.offset_size);
    const int64_t stop = std::min(p.queries, (chunk + 1) * p.chunk_rows);
    for (int64_t start = chunk * p.chunk_rows; start < stop; start += p.row_block)
      block(start, std::min(p.row_block, stop - start), column);
    end_run();
  }

 private:
  const Pass& p;
  const std::vector<Group>& groups;
  const int64_t panels, pitch;
  float *query, *highest, *lowest, *scores;
  std::vector<Row> rows;
  float log2e_scaling;
  bool changes;
  int64_t chunk = 0, flat = 0, text = 0, head = 0;
  std::vector<float> of_run, of_run_without;  // what each key has received from the present run of queries
  std::vector<int32_t> left_out;
  int64_t open_run = -1, run_begin = 0, run_end = 0;
  int64_t begin = 0, end = 0;              // the block's keys, whole panels
  int64_t clear_begin = 0, clear_end = 0;  // of these, what every row sees unchanged

  void block(int64_t first, int64_t count, float* column) {
    bool any = false;
    begin = p.keys, end = 0, clear_begin = 0, clear_end = p.keys;
    for (int64_t r = 0; r < count; ++r) {
      Row& row = rows[r];
      row.from = std::max(p.first_key[text], first + r + p.lower);
      row.to = std::max(std::min(p.last_key[text], first + r + p.upper + 1), row.from);
      row.factor = row.without = 0;
      if (!p.valid[text * p.queries + first + r] || row.to == row.from) {
        row.to = row.from;  // left out: its results stay as they are
        continue;
      }
      any = true;
      begin = std::min(begin, row.from), end = std::max(end, row.to);
      clear_begin = std::max(clear_begin, row.from), clear_end = std::min(clear_end, row.to);
    }
    if (!any) return;
    begin = begin / PANEL * PANEL;
    end = (end + PANEL - 1) / PANEL * PANEL;
    clear_begin = (clear_begin + PANEL - 1) / PANEL * PANEL;
    clear_end = clear_end / PANEL * PANEL;
    if (changes || clear_end <= clear_begin) clear_begin = clear_end = end;

    multiply_block(first, count);
    for (int64_t r = 0; r < count; ++r)
      if (rows[r].to > rows[r].from) finish_row(first + r, rows[r], scores + r * pitch - begin, r);
    if (column) receive(0, count, &Row::factor, column);
    if (p.query_runs) receive_by_run(first, count);
  }

  void multiply_block(int64_t first, int64_t count) {
    const int64_t padded = (count + ROWS - 1) / ROWS * ROWS;
    const float* from = p.query + text * p.query_batch + head * p.query_head + first * p.query_row;
    for (int64_t r = 0; r < padded; ++r)
      for (int64_t c = 0; c < p.channels; ++c)
        query[r * p.channels + c] = r < count ? from[r * p.query_row + c] * log2e_scaling : 0;
    for (int64_t i = 0; i < padded * LANES; ++i) highest[i] = HIDDEN, lowest[i] = INFINITE;
    const int64_t key_head = text * p.key_heads + head / (p.heads / p.key_heads);
    for (int64_t at = begin; at < end; at += PANEL) {
      const float* panel = p.key + (key_head * panels + at / PANEL) * p.channels * PANEL;
      const bool clear = at >= clear_begin && at < clear_end;
      for (int64_t r = 0; r < padded; r += ROWS) {
        float* out = scores + r * pitch + at - begin;
        if (clear)
          multiply<true>(query + r * p.channels, panel, p.channels, out, pitch, highest + r * LANES, lowest + r * LANES);
        else
          multiply<false>(query + r * p.channels, panel, p.channels, out, pitch, nullptr, nullptr);
      }
    }
  }

  // Softcap, bias and masks on some keys of a row, and its extremes there. `cells[j]` is key j.
  void change(int64_t i, const Row& row, float* cells, int64_t from, int64_t to, Floats& high, Floats& low) const {
    const float log2e = float(1 / LN2);
    const float cap = float(p.softcap / LN2), inverse_cap = p.softcap != 0 ? float(LN2 / p.softcap) : 0;
    const float* bias = p.bias ? p.bias + text * p.bias_batch + head * p.bias_head + i * p.bias_row : nullptr;
    const uint8_t* mask = p.mask ? p.mask + text * p.mask_batch + head * p.mask_head + i * p.mask_row : nullptr;
    const uint8_t* key_seen = p.key_seen ? p.key_seen + text * p.keys : nullptr;
    const int32_t* segment = p.key_segment ? p.key_segment + text * p.keys : nullptr;
    const Ints own_segment = all_ints(segment ? p.query_segment[text * p.queries + i] : 0);
    for (int64_t j = from; j < to; j += LANES) {
      const Ints at = lanes() + int32_t(j);
      Ints seen = (at >= int32_t(row.from)) & (at < int32_t(row.to));
      Floats s = load(cells + j);
      const int64_t left = p.keys - j;
      if (cap != 0) s = tanh_of(s * inverse_cap) * cap;
      if (bias) s += load_some(bias + j, left) * log2e;
      if (mask) seen &= load_flags(mask + j, left);
      if (key_seen) seen &= load_flags(key_seen + j, left);
      if (segment) seen &= load_some(segment + j, left) == own_segment;
      s = s < HIDDEN ? all(HIDDEN) : s;
      s = seen ? s : all(HIDDEN);
      store(cells + j, s);
      high = larger(s, high);
      low = smaller(seen ? s : all(INFINITE), low);
    }
  }

  void finish_row(int64_t i, Row& row, float* cells, int64_t r) {
    Floats high = load(highest + r * LANES), low = load(lowest + r * LANES);
    change(i, row, cells, begin, std::min(clear_begin, end), high, low);
    if (clear_end > clear_begin) change(i, row, cells, clear_end, end, high, low);
    row.highest = largest_of(high), row.lowest = smallest_of(low);
    const int64_t own = i + p.diagonal;
    const int64_t place = flat * p.queries + i, stride = p.batch * p.heads * p.queries;
    if (row.highest <= HIDDEN / 2) return blind(place, stride);
    double sum = 0, product = 0, apart = 0, member = 0;
    const Group* const group = dense_group();
    const float* const members = group ? group->values : nullptr;
    if (p.distance && group)
      exponentials<true, true>(cells, row.highest, p.apart - own, members, sum, product, apart, member);
    else if (p.distance)
      exponentials<true, false>(cells, row.highest, p.apart - own, members, sum, product, apart, member);
    else if (group)
      exponentials<false, true>(cells, row.highest, nullptr, members, sum, product, apart, member);
    else
      exponentials<false, false>(cells, row.highest, nullptr, members, sum, product, apart, member);

    double all_of_it = sum;
    if (p.sinks) {
      const float sink = p.sinks[text * p.sinks_batch + head * p.sinks_head + i * p.sinks_row];
      all_of_it += std::exp2(double(sink) / LN2 - row.highest);
    }
    const double share = sum / all_of_it;
    row.factor = float(1 / all_of_it);
    if (p.entropy) {
      const double entropy = std::log(all_of_it) * share - LN2 * product / all_of_it;
      p.entropy[place] = entropy < 0 ? 0 : float(entropy);  // rounding can leave a one-hot row a hair below zero
    }
    if (p.largest) p.largest[place] = row.factor;
    if (p.smallest) p.smallest[place] = float(std::exp2(double(row.lowest) - row.highest) / all_of_it);
    if (p.total) p.total[place] = float(share);
    if (p.distance) p.distance[place] = float(apart / sum);
    if (p.strongest) p.strongest[place] = float(strongest(cells));
    for (int64_t n = 0; n < p.offset_count; ++n) {
      const int64_t key = own + p.offsets[n];
      p.offset_weights[n * stride + place] = key >= begin && key < std::min(end, p.keys) ? cells[key] * row.factor : 0;
    }
    for (int64_t n = 0; n < p.window_count; ++n) {
      double near = 0;
      for (int64_t key = std::max(begin, own - p.windows[n]); key <= own + p.windows[n] && key < end; ++key) near += cells[key];
      p.window_weights[n * stride + place] = float(near * row.factor);
    }
    for (int64_t n = 0; n < p.group_count; ++n) {
      const Group& of_text = group_of(n);
      p.group_weights[n * stride + place] = float((&of_text == group ? member : group_sum(of_text, cells)) * row.factor);
    }
    match(i, own, row, cells, place, stride);
  }

  float* offsets_of(float* sums) const { return sums + (chunk * p.batch * p.heads + flat) * p.offset_size; }

  // Leaves keys out of some rows, and finds the factors of what stays.
  void leave_out(int64_t from, int64_t to) {
    for (int64_t r = from; r < to; ++r) {
      float* const cells = scores + r * pitch - begin;
      if (rows[r].factor == 0) continue;
      for (const int32_t key : left_out)
        if (key >= begin && key < end) cells[key] = 0;
      double left = 0;
      for (int64_t start = begin; start < end; start += 4096) {
        Floats sums{};
        for (int64_t j = start, stop = std::min(end, start + 4096); j < stop; j += LANES) sums += load(cells + j);
        left += sum_of(sums);
      }
      rows[r].without = left > 0 ? float(1 / left) : 0;
    }
  }

  // Adds the weights of some rows to the sums of their distances. One row further down, a distance is one key on.
  void receive_offsets(int64_t first, int64_t from, int64_t to, float Row::*scale, float* sums) const {
    const int64_t own = first + from + p.diagonal, last = first + to - 1 + p.diagonal;
    float* const by_offset = offsets_of(sums) + p.offset_origin;
    const int64_t low = begin - own, high = std::max(low, end - last);  // what every row has
    const auto one_by_one = [&](int64_t r, int64_t start, int64_t stop) {
      const int64_t place = first + r + p.diagonal;
      const float* cells = scores + r * pitch - begin;
      for (int64_t j = std::max(begin, start + place); j < std::min(end, stop + place); ++j)
        by_offset[j - place] += cells[j] * rows[r].*scale;
    };
    const int64_t wide = low + (high - low) / LANES * LANES;
    for (int64_t at = low; at < wide; at += LANES) {
      Floats sum = load(by_offset + at);
      for (int64_t r = from; r < to; ++r)
        if (rows[r].*scale != 0) sum += load(scores + r * pitch - begin + at + first + r + p.diagonal) * all(rows[r].*scale);
      store(by_offset + at, sum);
    }
    for (int64_t r = from; r < to; ++r) {
      if (rows[r].*scale == 0) continue;
      one_by_one(r, begin - last, low);
      one_by_one(r, wide, end - own);
    }
  }

  // What keys receive from each run of queries; a run's sums are taken when it ends.
  void receive_by_run(int64_t first, int64_t count) {
    const int32_t* const runs = p.query_runs + text * p.queries + first;
    for (int64_t from = 0, to; from < count; from = to) {
      for (to = from + 1; to < count && runs[to] == runs[from];) ++to;
      if (runs[from] < 0) continue;
      if (runs[from] != open_run) {
        end_run();
        open_run = runs[from], run_begin = begin, run_end = end;
        std::fill(of_run.begin(), of_run.end(), 0.0f);
        std::fill(of_run_without.begin(), of_run_without.end(), 0.0f);
      }
      run_begin = std::min(run_begin, begin), run_end = std::max(run_end, end);
      if (p.run_sums) receive(from, to, &Row::factor, of_run.data());
      if (p.offset_sums) receive_offsets(first, from, to, &Row::factor, p.offset_sums);
      if (!p.left_out) continue;
      leave_out(from, to);  // nothing else reads these rows after this
      if (p.run_sums_without) receive(from, to, &Row::without, of_run_without.data());
      if (p.offset_sums_without) receive_offsets(first, from, to, &Row::without, p.offset_sums_without);
    }
  }

  void end_run() {
    if (open_run < 0) return;
    const int64_t* const starts = p.key_runs + text * (p.key_run_count + 1);
    const int64_t place = (flat * (p.query_run_count + p.chunks) + open_run + chunk) * p.key_run_count;
    for (int64_t n = 0; n < p.key_run_count; ++n) {
      double sum = 0, without = 0;
      const int64_t stop = std::min(starts[n + 1], run_end);
      for (int64_t j = std::max(starts[n], run_begin); j < stop; ++j) {
        if (p.run_sums) sum += of_run[j];
        if (p.run_sums_without) without += of_run_without[j];
      }
      if (p.run_sums) p.run_sums[place + n] += sum;
      if (p.run_sums_without) p.run_sums_without[place + n] += without;
    }
    open_run = -1;
  }

  void match(int64_t i, int64_t own, const Row& row, const float* cells, int64_t place, int64_t stride) const {
    for (int64_t n = 0; n < p.match_count; ++n) {
      const int64_t of_text = n * p.batch + text;
      const int32_t label = p.match_queries[of_text * p.queries + i];
      if (label < 0) continue;
      const int64_t* const starts = p.match_starts + of_text * (p.match_labels + 1) + label;
      const int32_t* const keys = p.match_keys + of_text * p.keys;
      double sum = 0;
      bool any = false;
      for (int64_t at = starts[0]; at < starts[1]; ++at) {
        const int64_t key = keys[at];
        if (p.match_among[n] != 0 && (key == own || (p.match_among[n] == 2 && key > own))) continue;
        if (!sees(i, row, key)) continue;
        any = true;
        sum += cells[key];
      }
      if (any) p.match_weights[n * stride + place] = float(sum * row.factor);
    }
  }

  bool sees(int64_t i, const Row& row, int64_t key) const {
    if (key < row.from || key >= row.to) return false;
    if (p.mask && !p.mask[text * p.mask_batch + head * p.mask_head + i * p.mask_row + key]) return false;
    if (p.key_seen && !p.key_seen[text * p.keys + key]) return false;
    return !p.key_segment || p.query_segment[text * p.queries + i] == p.key_segment[text * p.keys + key];
  }

  // A row that sees nothing in this head gives no weight to anything.
  void blind(int64_t place, int64_t stride) const {
    for (float* zero : {p.entropy, p.largest, p.total, p.strongest})
      if (zero) zero[place] = 0;
    if (p.smallest) p.smallest[place] = INFINITE;
    for (int64_t n = 0; n < p.offset_count; ++n) p.offset_weights[n * stride + place] = 0;
    for (int64_t n = 0; n < p.window_count; ++n) p.window_weights[n * stride + place] = 0;
    for (int64_t n = 0; n < p.group_count; ++n) p.group_weights[n * stride + place] = 0;
  }

  const Group& group_of(int64_t n) const { return groups[p.groups_batch ? n * p.batch + text : n]; }

  // The first group with many keys, whose sum is taken along with the exponentials.
  const Group* dense_group() const {
    for (int64_t n = 0; n < p.group_count; ++n)
      if (group_of(n).dense) return &group_of(n);
    return nullptr;
  }

  // Scores to exponentials, in place. Sums start anew every few thousand keys, so that long rows stay exact.
  template <bool DISTANCE, bool GROUP>
  void exponentials(float* cells, float top, const float* distances, const float* group, double& sum, double& product,
                    double& apart, double& member) const {
    for (int64_t start = begin; start < end; start += 4096) {
      Floats sums{}, products{}, distant{}, members{};
      const int64_t stop = std::min(end, start + 4096);
      for (int64_t j = start; j < stop; j += LANES) {
        const Floats t = load(cells + j) - top;
        const Floats e = power_of_two(t);
        store(cells + j, e);
        sums += e;
        products += e * t;
        if (DISTANCE) distant += e * load(distances + j);
        if (GROUP) members += e * load(group + j);
      }
      sum += sum_of(sums), product += sum_of(products);
      if (DISTANCE) apart += sum_of(distant);
      if (GROUP) member += sum_of(members);
    }
  }

  // The first key with the largest exponential, which is one.
  int64_t strongest(const float* cells) const {
    int64_t j = begin;
    while (j < end && cells[j] < 1) ++j;
    return j;
  }

  double group_sum(const Group& group, const float* cells) const {
    double sum = 0;
    if (!group.dense) {
      for (const int32_t key : group.members)
        if (key >= begin && key < end) sum += cells[key];
      return sum;
    }
    for (int64_t start = begin; start < end; start += 4096) {
      Floats sums[4] = {};  // several, so that no addition waits for the last one
      const int64_t stop = std::min(end, start + 4096);
      for (int64_t j = start; j < stop; j += 4 * LANES)
        for (int v = 0; v < 4; ++v) sums[v] += load(cells + j + v * LANES) * load(group.values + j + v * LANES);
      sum += sum_of((sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
    return sum;
  }

  // Adds the weights of some rows of the block to each key's column.
  void receive(int64_t from, int64_t to, float Row::*scale, float* column) const {
    constexpr int AT_ONCE = PANEL / LANES < 4 ? PANEL / LANES : 4;
    for (int64_t j = begin; j < end; j += AT_ONCE * LANES) {
      Floats sums[AT_ONCE];
      for (int v = 0; v < AT_ONCE; ++v) sums[v] = load(column + j + v * LANES);
      for (int64_t r = from; r < to; ++r) {
        if (rows[r].*scale == 0) continue;
        const Floats factor = all(rows[r].*scale);
        const float* cells = scores + r * pitch - begin + j;
        for (int v = 0; v < AT_ONCE; ++v) sums[v] += load(cells + v * LANES) * factor;
      }
      for (int v = 0; v < AT_ONCE; ++v) store(column + j + v * LANES, sums[v]);
    }
  }
};

struct Team {
  const Pass& pass;
  const std::vector<Group>& groups;
  std::atomic<int64_t> next_task{0}, next_worker{0};

  void work() {
    const int64_t tasks = pass.batch * pass.heads * pass.chunks;
    const int64_t number = next_worker++;
    if (number >= pass.threads) return;
    Worker worker(pass, groups, pass.scratch + number * pass.scratch_size);
    for (int64_t task; (task = next_task++) < tasks;) worker.run(task);
  }
};

void join(void* team) { static_cast<Team*>(team)->work(); }

}  // namespace

extern "C" int64_t lanes_of_build() { return LANES; }

EXPORTED int64_t size_of_pass() { return sizeof(Pass); }

EXPORTED void row_pass(const Pass* pass) {
  const int64_t padded = (pass->keys + PANEL - 1) / PANEL * PANEL;
  const int64_t texts = pass->groups_batch ? pass->batch : 1;
  std::vector<Group> groups(pass->group_count * texts);
  for (size_t n = 0; n < groups.size(); ++n) {
    Group& group = groups[n];
    group.values = pass->groups + n * padded;
    for (int64_t j = 0; j < pass->keys; ++j)
      if (group.values[j] != 0) group.members.push_back(int32_t(j));
    group.dense = int64_t(group.members.size()) > 4 + pass->keys / 32;
  }
  Team team{*pass, groups};
  if (pass->threads <= 1) return team.work();
  if (pass->parallel) {
    using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
    return reinterpret_cast<Parallel>(pass->parallel)(join, &team, unsigned(pass->threads), 0);
  }
  std::vector<std::thread> others;
  for (int64_t n = 1; n < pass->threads; ++n) others.emplace_back(join, &team);
  team.work();
  for (std::thread& other : others) other.join();
}
