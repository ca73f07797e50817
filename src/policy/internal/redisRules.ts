/**
 * The rules of limits in Lua, as Redis runs them: one state a limit, loaded once, asked in a loop, stored once.
 *
 * Times are microseconds since 2026 by the server's clock. A script gets JSON in `ARGV[1]`, whose first entry is the list of
 * limits (`redisEncode.ts`); `KEYS[1]` is the hash of the limiter: its clock, its claims, and the state of configured limits.
 *
 * Invariants
 * - Numbers that are stored are packed doubles, or passed to a command as numbers (Redis then writes all 17 digits); Lua's own
 *   `tostring` has 14, microseconds have 16.
 * - The clock of a limiter is monotone: where the server's steps back, an offset carries on from the last time written. A
 *   server's clock that is put right again does not count twice.
 * - Whatever is written lives for at least as long as it counts: each grant sees to it.
 */
import { adaptive } from "./redisAdaptive.ts"

/** The first second of 2026, by Unix time: where the scripts' time begins. */
export const epochSeconds = 1_767_225_600

/** The kinds of rules, as the scripts know them. */
export const kinds = { bucket: 1, calls: 2, tokens: 3, fixed: 4, permits: 5, adaptive: 6 } as const

/**
 * What a script is given, and where it will find what it wants to read: `values[h][n]`, once loaded.
 *
 * A limit is `{kind, hash, field, key, unit, size, rate, span, keep}`; hash and key are indexes of KEYS, `keep` the time for
 * which its state counts.
 */
const input = `
local call, floor, ceil, max, min, huge = redis.call, math.floor, math.ceil, math.max, math.min, math.huge
local pack, bytes = struct.pack, struct.unpack
local input = cjson.decode(ARGV[1])
local limits = input[1]
local fields, values, writes, deadline, keep, place = {{'t', 'c'}}, {}, {}, {}, {0}, {}
local A, B, dirty, now, raw = {}, {}, {}
local function hash(h)
  local f = fields[h]
  if not f then f = {'e'} fields[h] = f keep[h] = 0 end
  return f
end
local function want(h, name)
  local f = hash(h)
  f[#f + 1] = name
  return #f
end
local function put(h, name, value)
  local w = writes[h]
  if not w then w = {} writes[h] = w end
  w[#w + 1] = name
  w[#w + 1] = value
end
local function each(command, key, list)
  for from = 1, #list, 2000 do call(command, key, unpack(list, from, min(from + 1999, #list))) end
end
for i = 1, #limits do
  local l = limits[i]
  local kind = l[1]
  local h = hash(l[2])
  if kind == 1 or kind == 4 or kind == 6 then place[i] = want(l[2], l[3]) end
  if l[9] > keep[l[2]] then keep[l[2]] = l[9] end
  if l[9] > keep[1] then keep[1] = l[9] end
end
`

/**
 * A window of tokens: a hash of slots, `t` their sum, `h` no later than the oldest. A slot counts until a window after its
 * end. `A` is the sum, `B` the oldest slot.
 */
const slots = `
local function slotOf(l, at) return floor(at / (l[8] / 1000)) end
local function name(slot) return string.format('%.0f', slot) end
local function sumOf(key, from, to, stop)
  local sum = 0
  for first = from, to, 64 do
    local names = {}
    for s = first, min(first + 63, to) do names[#names + 1] = name(s) end
    local found = call('HMGET', key, unpack(names))
    for n = 1, #found do
      if found[n] then
        sum = sum + found[n]
        if sum >= stop then return sum, first + n - 1 end
      end
    end
  end
  return sum, to
end
local function loadSlots(i, l)
  local key = KEYS[l[4]]
  local found = call('HMGET', key, 't', 'h')
  local current = slotOf(l, now)
  A[i], B[i] = 0, current
  if not (found[1] and found[2]) then return end
  local first, oldest = tonumber(found[2]), current - 1000
  if first + 1000 < oldest then
    call('DEL', key)
  elseif first < oldest then
    A[i], B[i], dirty[i] = found[1] - sumOf(key, first, oldest - 1, huge), oldest, true
    local names = {}
    for s = first, oldest - 1 do names[#names + 1] = name(s) end
    each('HDEL', key, names)
  else
    A[i], B[i] = tonumber(found[1]), first
  end
end
`

/** Reads the hashes and the clock. From here on `now` is the time, and `A`, `B` are the two numbers of each limit's state. */
const load = `
for h, f in pairs(fields) do
  local v
  if #f <= 4000 then v = call('HMGET', KEYS[h], unpack(f)) else
    v = {}
    for from = 1, #f, 4000 do
      local part = call('HMGET', KEYS[h], unpack(f, from, min(from + 3999, #f)))
      for n = 1, #part do v[from + n - 1] = part[n] end
    end
  end
  values[h] = v
  deadline[h] = h > 1 and v[1] and #v[1] == 8 and bytes('<d', v[1]) or 0
end
do
  local time = call('TIME')
  raw = (time[1] - ${epochSeconds}) * 1000000 + time[2]
  now = raw
  local clock = values[1][1]
  if clock and #clock == 24 then
    local last, offset, ends = bytes('<ddd', clock)
    if raw < last then now = max(last, raw + offset) end
    deadline[1] = ends
  end
end
local function load(i)
  local l = limits[i]
  local kind = l[1]
  local v = place[i] and values[l[2]][place[i]]
  if kind == 1 then
    B[i] = 0
    if v and #v == 16 then
      local at, debt = bytes('<dd', v)
      B[i] = max(0, debt - max(0, now - at) * l[7])
    end
  elseif kind == 2 then
    A[i], B[i] = call('LLEN', KEYS[l[4]]), 0
  elseif kind == 3 then
    loadSlots(i, l)
  elseif kind == 4 then
    A[i], B[i] = -1, 0
    if v and #v == 16 then
      local from, used = bytes('<dd', v)
      if now < from + l[8] then A[i], B[i] = from, used end
    end
  elseif kind == 5 then
    A[i], B[i] = call('ZCARD', KEYS[l[4]]), 0
  else
    A[i] = adaptiveLoad(v)
  end
end
`

/** `needed(i, n)`: the microseconds until `n` units fit limit `i`; 0 is now, `huge` is "only when one comes back". */
const needed = `
local cleaned = {}
local function needed(i, n)
  local l = limits[i]
  local kind = l[1]
  if kind == 1 then
    local over = B[i] + n * l[8] - l[6] * l[8]
    return over > 0 and ceil(over / l[7]) or 0
  elseif kind == 2 then
    local gone = A[i] + B[i] + n - l[6]
    if gone <= 0 then return 0 end
    if gone > A[i] then return l[8] end
    return max(0, (call('LINDEX', KEYS[l[4]], gone - 1) or 0) + l[8] - now)
  elseif kind == 3 then
    local over = A[i] + n - l[6]
    if over <= 0 then return 0 end
    local _, slot = sumOf(KEYS[l[4]], B[i], slotOf(l, now), over)
    return max(1, ceil((slot + 1001) * (l[8] / 1000) - now))
  elseif kind == 4 then
    return B[i] > 0 and B[i] + n > l[6] and A[i] + l[8] - now or 0
  elseif kind == 5 then
    if A[i] + B[i] + n > l[6] and A[i] > 0 and not cleaned[i] then
      cleaned[i] = true
      A[i] = A[i] - call('ZREMRANGEBYSCORE', KEYS[l[4]], '-inf', now)
    end
    return A[i] + B[i] + n > l[6] and huge or 0
  end
  return ceil(adaptiveWait(A[i], now / 1000) * 1000)
end
`

/** `take(i, n, id)`: takes `n` units now, though the limit be overdrawn; `id` names the lease of permits. */
const take = `
local members = {}
local function memberOf(id, n) return n == 1 and id or id .. '#' .. name(n) end
local function take(i, n, id)
  local l = limits[i]
  local kind = l[1]
  dirty[i] = true
  if kind == 1 then
    B[i] = B[i] + n * l[8]
  elseif kind == 2 then
    B[i] = B[i] + n
  elseif kind == 3 then
    A[i] = A[i] + n
    call('HINCRBYFLOAT', KEYS[l[4]], name(slotOf(l, now)), n)
  elseif kind == 4 then
    if A[i] < 0 then A[i] = now end
    B[i] = B[i] + n
  elseif kind == 5 then
    B[i] = B[i] + n
    local m = members[i]
    if not m then m = {} members[i] = m end
    for k = 1, n do
      m[#m + 1] = now + l[8]
      m[#m + 1] = memberOf(id, k)
    end
  else
    adaptiveTake(A[i], now / 1000, n)
  end
end
`

/** Stores every state that has changed, the clock, and how long to keep them. */
const store = `
local function save(h)
  local renew = deadline[h] < now + keep[h]
  if renew then deadline[h] = now + 2 * keep[h] + 1000000 end
  if h == 1 then
    put(1, 't', pack('<ddd', now, now - raw, deadline[1]))
  elseif renew then
    put(h, 'e', pack('<d', deadline[h]))
  end
  each('HSET', KEYS[h], writes[h])
  if renew then call('PEXPIRE', KEYS[h], ceil(min((deadline[h] - now) / 1000, 1e13))) end
end
local function store()
  for i in pairs(dirty) do
    local l = limits[i]
    local kind = l[1]
    local key = KEYS[l[4]]
    if kind == 1 then
      put(l[2], l[3], pack('<dd', now, B[i]))
      keep[l[2]] = max(keep[l[2]], B[i] / l[7])
      keep[1] = max(keep[1], keep[l[2]])
    elseif kind == 2 then
      if B[i] == 1 then call('RPUSH', key, now) elseif B[i] > 1 then
        local times = {}
        for n = 1, B[i] do times[n] = now end
        each('RPUSH', key, times)
      end
      local gone = A[i] + B[i] - l[6]
      if gone == 1 then call('LPOP', key) elseif gone > 1 then call('LTRIM', key, gone, -1) end
    elseif kind == 3 then
      call('HSET', key, 't', A[i], 'h', B[i])
    elseif kind == 4 then
      put(l[2], l[3], pack('<dd', A[i], B[i]))
    elseif kind == 5 then
      if members[i] then each('ZADD', key, members[i]) end
    else
      put(l[2], l[3], adaptivePack(A[i]))
    end
    if key then call('PEXPIRE', key, ceil(min(l[9] / 1000, 1e13)) + 1000) end
  end
  if not (next(dirty) or next(writes)) then return end
  for h in pairs(writes) do
    if h > 1 then save(h) end
  end
  save(1)
end
`

/** Everything a script that takes needs, around what it wants to read besides. */
export const rules = (wants: string): string => [input, wants, slots, adaptive, load, needed, take, store].join("")

/** The same for one that only looks: `load` would clean up. */
export const reading = [input, slots, adaptive, load].join("")
