/**
 * What processes leave each other, in Lua: shares of what is free, by the number that wait, and room for older claims of large
 * costs. The words are those of `memoryAsk.ts`.
 */

/** `listOf(field, width)`: the list in a field; what is none of ours counts as none. */
export const lists = `
local function listOf(field, width)
  if not field or #field == 0 then return {} end
  local isRight, list = pcall(cmsgpack.unpack, field)
  return isRight and type(list) == 'table' and #list % width == 0 and list or {}
end
`

/** `claimedBefore(i, owner)`, and `claim(...)`: the claims of a lane follow its first head that did not pass. */
export const claims = `
local function claimedBefore(i, owner)
  local sum, name = 0, limits[i][3]
  for c = 1, #claims, 5 do
    if claims[c] == name and claims[c + 4] > now then
      if claims[c + 1] == owner then return sum end
      sum = sum + claims[c + 3]
    end
  end
  return sum
end
local function claim(wanted, owner, by, heads, at, ends)
  local on, lane = wanted[1], wanted[3]
  local n = by > 0 and heads[at + 2 + limits[on[by]][5]] or 0
  local isNew = n > 1 and n <= limits[on[by]][6]
  if #claims == 0 and not isNew then return end
  local mine, live = {}, {}
  for j = 1, #on do mine[limits[on[j]][3]] = j end
  for c = 1, #claims, 5 do
    local keep = claims[c + 4] > now
    if keep and claims[c + 1] == owner then
      local j = mine[claims[c]]
      if j and claims[c + 2] == lane then
        keep = isNew and j == by
        if keep then claims[c + 3], claims[c + 4] = n, ends end
      end
      if j == by then isNew = false end
    end
    if keep then
      for k = 0, 4 do live[#live + 1] = claims[c + k] end
    end
  end
  if isNew then
    local b = #live
    live[b + 1], live[b + 2], live[b + 3], live[b + 4], live[b + 5] = limits[on[by]][3], owner, lane, n, ends
  end
  claims, claimed = live, true
end
`

/** `othersOf(counts, owner)`, and for a lane where others wait `sharesOf(...)` and `overShare(...)`. */
export const shares = `
local function othersOf(counts, owner)
  local sum, ends, live, was = 0, 0, {}, false
  local list = listOf(counts, 3)
  for p = 1, #list, 3 do
    if list[p] == owner then was = true elseif list[p + 2] > now then
      sum = sum + list[p + 1]
      ends = max(ends, list[p + 2])
      live[#live + 1], live[#live + 2], live[#live + 3] = list[p], list[p + 1], list[p + 2]
    end
  end
  return sum, ends, live, was
end
local function freeOf(i, most)
  local l = limits[i]
  local kind = l[1]
  if kind == 1 then return max(0, floor((l[6] * l[8] - B[i]) / l[8])) end
  if kind == 2 then
    local room, size = l[6] - A[i] - B[i], A[i]
    local function ended(n) return call('LINDEX', KEYS[l[4]], n - 1) + l[8] <= now end
    local low, high = 0, 1
    while high <= size and room + high <= most and ended(high) do low, high = high, high * 2 end
    high = min(high, size + 1)
    while high - low > 1 do
      local middle = floor((low + high) / 2)
      if ended(middle) then low = middle else high = middle end
    end
    return max(0, room + low)
  end
  if kind == 3 then return max(0, l[6] - A[i]) end
  if kind == 4 then return max(0, l[6] - B[i]) end
  if kind == 5 then
    needed(i, l[6])
    return max(0, l[6] - A[i] - B[i])
  end
  return needed(i, 1) > 0 and 0 or huge
end
local function sharesOf(on, waiting, others, heads)
  local share, budgets, total = waiting / (waiting + others), {}, {0, 0}
  for h = 1, #heads, 3 do total[1], total[2] = total[1] + heads[h + 1], total[2] + heads[h + 2] end
  for j = 1, #on do budgets[j] = ceil(freeOf(on[j], total[limits[on[j]][5] + 1] / share + 1) * share) end
  return budgets
end
local function refill(i, n)
  local l = limits[i]
  local kind = l[1]
  if kind == 1 then return n * l[8] / l[7] end
  if kind == 5 then return huge end
  if kind == 6 then
    local rate = rateAt(A[i], now / 1000)
    return rate == 0 and 0 or n / rate * 1000
  end
  return n * l[8] / l[6]
end
local function overShare(on, heads, at, budgets, ends)
  for j = 1, #on do
    local n = heads[at + 2 + limits[on[j]][5]]
    if n > budgets[j] then return max(1, ceil(min(refill(on[j], n), ends - now))), j end
  end
  return 0, 0
end
`
