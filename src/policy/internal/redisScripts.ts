/**
 * The scripts of the Redis store, whole: each is one atomic step, and touches no key that it does not declare.
 */
import { adaptiveObserve } from "./redisAdaptive.ts"
import { reading, rules } from "./redisRules.ts"
import { claims, lists, shares } from "./redisShares.ts"

/**
 * Grants heads of lanes: `ARGV[1]` is `[limits, asks]`, an ask `[limits' indexes, hash, field, owner, waiting,
 * heads, slacks]` with `id, calls, tokens` of each head in one list, and each one's slack where any has some. Answers with the time, then five numbers an ask: granted, wait (-1:
 * no time is known), index of the blocking limit in the lane (-1: none), waiting in all, and how long until the first lease
 * ends (-1: none). Order, shares and claims as the contract of `LimiterStore.ask` says.
 *
 * Where nobody else has a word in it, heads that all fit together are taken as one: whatever fits as a sum fits one by one.
 *
 * Counts are `owner, count, end` in one field a lane, claims `limit, owner, lane, cost, end` in one field in all, oldest first.
 */
export const ask = `${
  rules(`
local asks = input[2]
local waitingAt, known = {}, {}
for a = 1, #asks do
  local h, field = asks[a][2], asks[a][3]
  local name = h .. field
  if not known[name] then known[name] = want(h, field) end
  waitingAt[a] = known[name]
end
`)
}
${lists}
local claims, claimed = listOf(values[1][2], 5), false
local closed, answer = {}, {0}
for i = 1, #limits do load(i) end
${claims}${shares}
local function waitBehind(i, owner, n)
  local size = limits[i][6]
  if n > size then return huge end
  if #claims == 0 then return needed(i, n) end
  local wanted = n + claimedBefore(i, owner)
  local w = needed(i, min(wanted, size))
  if w > 0 or wanted <= size then return w end
  return 10000
end
local function reserveOf(i, slack)
  local l = limits[i]
  if l[1] == 6 then return rateAt(A[i], now / 1000) > 0 and huge or 0 end
  return ceil(l[6] * slack)
end
local function refusal(wanted, owner, at, slack)
  local on, heads, longest, by = wanted[1], wanted[6], 0, 0
  for j = 1, #on do
    local i = on[j]
    local n = heads[at + 2 + limits[i][5]]
    if n > 0 then
      if slack > 0 then n = n + reserveOf(i, slack) end
      local w = waitBehind(i, owner, n)
      if closed[i] and closed[i] > w then w = closed[i] end
      if w > longest then longest, by = w, j end
    end
  end
  if by > 0 and slack == 0 then
    local i = on[by]
    if heads[at + 2 + limits[i][5]] <= limits[i][6] then closed[i] = longest end
  end
  return longest, by
end
local function takeAll(on, heads)
  local count, totals = #heads, {0, 0}
  for h = 1, count, 3 do totals[1], totals[2] = totals[1] + heads[h + 1], totals[2] + heads[h + 2] end
  for j = 1, #on do
    local i = on[j]
    local l = limits[i]
    local n = totals[1 + l[5]]
    if n > 0 then
      if n > l[6] or closed[i] or l[1] == 6 and count > 3 or needed(i, n) > 0 then return false end
    end
  end
  for j = 1, #on do
    local i = on[j]
    local l = limits[i]
    local n = totals[1 + l[5]]
    if n > 0 then
      if l[1] == 5 then
        for h = 1, count, 3 do take(i, heads[h + 1], heads[h]) end
      else
        take(i, n)
      end
    end
  end
  return true
end
local function kept(w) return now + 1000000 + (w > 0 and w < huge and min(w, 60000000) or 1000000) end
for a = 1, #asks do
  local wanted = asks[a]
  local on, owner, waiting, heads = wanted[1], wanted[4], wanted[5], wanted[6]
  local others, ends, live, was = othersOf(values[wanted[2]][waitingAt[a]], owner)
  local count, slacks, slack = #heads / 3, wanted[7], 0
  local budgets = others > 0 and (count > 1 or slacks) and sharesOf(on, waiting, others, heads)
  local granted, wait, by = 0, 0, 0
  if count > 0 and not slacks and not budgets and #claims == 0 and takeAll(on, heads) then granted = count end
  while granted < count do
    local at = granted * 3
    slack = slacks and slacks[granted + 1] or 0
    wait, by = refusal(wanted, owner, at, slack)
    if by == 0 and budgets and (granted > 0 or slack > 0) then wait, by = overShare(on, heads, at, budgets, ends) end
    if by > 0 then break end
    for j = 1, #on do
      local i = on[j]
      local n = heads[at + 2 + limits[i][5]]
      if n > 0 then
        take(i, n, heads[at + 1])
        if budgets then budgets[j] = budgets[j] - n end
      end
    end
    granted = granted + 1
  end
  local left, lease = max(0, waiting - granted), -1
  if by == 0 then slack = 0 end
  claim(wanted, owner, slack > 0 and 0 or by, heads, granted * 3, kept(wait))
  if by > 0 and slack == 0 then
    local l = limits[on[by]]
    put(l[2], 'm:' .. l[3], 1)
    if l[1] == 5 then
      local oldest = call('ZRANGE', KEYS[l[4]], 0, 0, 'WITHSCORES')
      if oldest[2] then lease = max(0, ceil(oldest[2] - now)) end
    end
  end
  if left > 0 or was then
    if left > 0 then live[#live + 1], live[#live + 2], live[#live + 3] = owner, left, kept(wait) end
    local counts = #live > 0 and cmsgpack.pack(live) or ''
    values[wanted[2]][waitingAt[a]] = counts
    put(wanted[2], wanted[3], counts)
  end
  local b = #answer
  answer[b + 1], answer[b + 2], answer[b + 3], answer[b + 4], answer[b + 5] =
    granted, wait == huge and -1 or ceil(wait), by - 1, others + left, lease
end
if claimed then put(1, 'c', #claims > 0 and cmsgpack.pack(claims) or '') end
store()
answer[1] = now
return answer
`

/**
 * Gives back and charges: `ARGV[1]` is `[limits, changes]`, a change `[limit's index, amount, granted at, lease]`; an amount
 * below 0 is charged. `ARGV[2]` is the channel on which the keys are published of which something came back.
 */
export const change = `${rules("")}
local marked, ended = {}, {}
local function back(i, n, grantedAt)
  local l = limits[i]
  local kind, key = l[1], KEYS[l[4]]
  if not A[i] and not B[i] then load(i) end
  if kind == 1 then
    local credit = n * l[8] - max(0, now - grantedAt) * l[7]
    if credit <= 0 or B[i] == 0 then return false end
    B[i] = max(0, B[i] - credit)
  elseif kind == 2 then
    if grantedAt + l[8] <= now or call('LREM', key, -n, grantedAt) == 0 then return false end
    return true
  elseif kind == 3 then
    local slot = slotOf(l, grantedAt)
    if slot < B[i] or slot < slotOf(l, now) - 1000 then return false end
    local there = tonumber(call('HGET', key, name(slot)) or 0)
    n = min(n, there)
    if n <= 0 then return false end
    call('HINCRBYFLOAT', key, name(slot), -n)
    A[i] = A[i] - n
  elseif kind == 4 then
    if A[i] < 0 or grantedAt < A[i] or B[i] <= 0 then return false end
    B[i] = max(0, B[i] - n)
  else
    return false
  end
  dirty[i] = true
  return true
end
for _, c in ipairs(input[2]) do
  local i = c[1]
  if c[2] < 0 then
    if not A[i] and not B[i] then load(i) end
    take(i, -c[2])
  elseif limits[i][1] == 5 then
    local names = ended[i]
    if not names then names = {} ended[i] = names end
    for k = 1, c[2] do names[#names + 1] = memberOf(c[4], k) end
  elseif back(i, c[2], c[3]) then
    marked[i] = true
  end
end
for i, names in pairs(ended) do
  local gone = 0
  for from = 1, #names, 2000 do
    gone = gone + call('ZREM', KEYS[limits[i][4]], unpack(names, from, min(from + 1999, #names)))
  end
  if gone > 0 then marked[i] = true end
end
store()
local freed = {}
for i in pairs(marked) do
  local l = limits[i]
  if call('HDEL', KEYS[l[2]], 'm:' .. l[3]) == 1 then freed[#freed + 1] = l[10] end
end
if #freed > 0 then call('PUBLISH', ARGV[2], cjson.encode(freed)) end
return #freed
`

/**
 * Gives permits back, and needs nothing else: KEYS are a hash and a lease set for each limit; `ARGV[1]` is the channel, then for
 * each limit its field, its key for the channel, how many leases, and those.
 */
export const release = `
local call, freed, at = redis.call, {}, 2
for k = 1, #KEYS, 2 do
  local gone, last = 0, at + 2 + ARGV[at + 2]
  for from = at + 3, last, 2000 do
    gone = gone + call('ZREM', KEYS[k + 1], unpack(ARGV, from, math.min(from + 1999, last)))
  end
  if gone > 0 and call('HDEL', KEYS[k], 'm:' .. ARGV[at]) == 1 then freed[#freed + 1] = ARGV[at + 1] end
  at = last + 1
end
if #freed > 0 then call('PUBLISH', ARGV[1], cjson.encode(freed)) end
return #freed
`

/**
 * Renews leases: `ARGV[1]` is `[limits, leases]`, a lease `[limit's index, amount, id, ends]`. Answers with the time, then 1 a
 * lease that goes on and 0 a lost one. One that should still be there and is not (the data is gone) is taken again, if
 * there is room.
 */
export const renew = `${rules("")}
local answer = {now}
for _, lease in ipairs(input[2]) do
  local i, n, id, ends = lease[1], lease[2], lease[3], lease[4]
  local l = limits[i]
  local key = KEYS[l[4]]
  if not A[i] then load(i) end
  local missing, late = 0, ends <= now
  for k = 1, n do
    local score = call('ZSCORE', key, memberOf(id, k))
    if not score then missing = missing + 1 elseif tonumber(score) <= now then late = true end
  end
  if late or missing > 0 and needed(i, missing) > 0 then
    answer[#answer + 1] = 0
  else
    take(i, n, id)
    B[i] = B[i] - n + missing
    answer[#answer + 1] = 1
  end
end
store()
return answer
`

/**
 * Reads, for a dry run; `ARGV[1]` is `[limits]`. Answers with one list of numbers (as text) a limit: a bucket's time until it
 * is full; a window's `ends in, amount` in turn; the permits held; of a learnt rate calls a second, pause and next.
 */
export const peek = `${reading}
local function text(list)
  for n = 1, #list do list[n] = string.format('%.17g', list[n]) end
  return list
end
local answer = {}
for i = 1, #limits do
  local l = limits[i]
  local kind, key, found = l[1], KEYS[l[4]], {}
  if kind == 1 then
    load(i)
    found[1] = B[i] / l[7]
  elseif kind == 2 then
    for _, at in ipairs(call('LRANGE', key, 0, -1)) do
      local left = at + l[8] - now
      local n = #found
      if left > 0 then
        if n > 0 and found[n - 1] == left then found[n] = found[n] + 1 else found[n + 1], found[n + 2] = left, 1 end
      end
    end
  elseif kind == 3 then
    local all, order = call('HGETALL', key), {}
    local amounts = {}
    for n = 1, #all, 2 do
      local slot, amount = tonumber(all[n]), tonumber(all[n + 1])
      if slot and amount > 0 then
        order[#order + 1] = slot
        amounts[slot] = amount
      end
    end
    table.sort(order)
    for _, slot in ipairs(order) do
      local left = (slot + 1001) * (l[8] / 1000) - now
      if left > 0 then found[#found + 1], found[#found + 2] = left, amounts[slot] end
    end
  elseif kind == 4 then
    load(i)
    if A[i] >= 0 then found = {A[i] + l[8] - now, B[i]} end
  elseif kind == 5 then
    found[1] = call('ZCOUNT', key, '(' .. string.format('%.17g', now), '+inf')
  else
    local s = adaptiveLoad(values[l[2]][place[i]])
    local rate = rateAt(s, now / 1000)
    found = {
      rate == 0 and -1 or rate * 1000, min(max(0, s.pausedUntil - now / 1000), 3600000), adaptiveWait(s, now / 1000)
    }
  end
  answer[i] = text(found)
end
return answer
`

/**
 * Learns from an answer: `ARGV[1]` is `[limits, [granted at, congested, retry after, remaining, reset, latency, is a guess]]`, times in
 * milliseconds, what is absent `false` (the grant then was as long ago as the answer took).
 */
export const feedback = `${rules("")}${adaptiveObserve}
load(1)
local s = input[2]
observe(A[1], now / 1000, s[1], s[2], s[3], s[4], s[5], s[6], s[7])
dirty[1] = true
store()
if call('HDEL', KEYS[limits[1][2]], 'm:' .. limits[1][3]) == 1 then
  call('PUBLISH', ARGV[2], cjson.encode({limits[1][10]}))
end
return 1
`
