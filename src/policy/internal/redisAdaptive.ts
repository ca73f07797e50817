/**
 * The learnt rate in Lua: a port of `adaptive.ts`, function by function, which explains it. Times in milliseconds of the
 * scripts' clock. Both are tested on the same signals.
 */
export const adaptive = `
local function adaptiveLoad(v)
  if v and #v == 80 then
    local s = {}
    s.rate, s.ceiling, s.nextAt, s.pausedUntil, s.decreasedAt, s.grownAt, s.used, s.usedAt, s.latency, s.baseline =
      bytes('<dddddddddd', v)
    return s
  end
  return {
    rate = 0, ceiling = 0, nextAt = 0, pausedUntil = -1, decreasedAt = -1, grownAt = -1, used = 0, usedAt = 0,
    latency = 0, baseline = 0
  }
end
local function adaptivePack(s)
  return pack('<dddddddddd', s.rate, s.ceiling, s.nextAt, s.pausedUntil, s.decreasedAt, s.grownAt, s.used, s.usedAt,
    s.latency, s.baseline)
end
local function calm(s, now) return now - max(s.decreasedAt, s.pausedUntil) - 600000 end
local function rateAt(s, now)
  if s.rate == 0 then return 0 end
  local minutes = calm(s, now) / 60000
  if minutes <= 0 then return s.rate end
  if minutes >= 10 then return 0 end
  return s.rate * 2 ^ minutes
end
local function adaptiveWait(s, now)
  if s.rate == 0 and s.pausedUntil <= now then return 0 end
  local paced = 0
  if rateAt(s, now) ~= 0 then paced = s.nextAt - now end
  return min(max(0, s.pausedUntil - now, paced), 3600000)
end
local function adaptiveTake(s, now, calls)
  s.used = s.used * max(0, 1 - max(0, now - s.usedAt) / 1000) + calls
  s.usedAt = now
  local rate = rateAt(s, now)
  if rate == 0 then return end
  s.nextAt = min(max(s.nextAt, now - 20) + calls / rate, now + 3600000)
end
`

/** What a signal teaches: `observe(s, now, grantedAt, congested, retryAfter, remaining, reset, latency, isGuess)`; absent is false. */
export const adaptiveObserve = `
local function level(s, now)
  local rate = rateAt(s, now)
  local admitted = max(1, s.used) / 1000
  if rate == 0 then return admitted end
  return min(rate, admitted)
end
local function setRate(s, now, rate)
  local from = max(now, s.pausedUntil)
  local nextRate = min(max(1 / 60000, rate), 1000)
  if s.rate > 0 and s.nextAt > from then s.nextAt = from + (s.nextAt - from) * s.rate / nextRate end
  s.rate = nextRate
end
local function pause(s, now, asked)
  s.pausedUntil = max(s.pausedUntil, now + min(asked, 3600000))
  s.nextAt = max(s.nextAt, s.pausedUntil)
end
local function refused(s, now, grantedAt, asked)
  if grantedAt > s.decreasedAt then
    local jammed = level(s, now)
    local soon = now - max(s.decreasedAt, s.pausedUntil) < 5 * max(1000, 1 / jammed)
    setRate(s, now, jammed / 2)
    s.ceiling, s.decreasedAt, s.grownAt, s.nextAt = soon and jammed * 0.85 or jammed, now, now, now
    if not asked or asked == 0 then s.nextAt = now + 1 / s.rate end
    pause(s, now, asked or 1000)
  elseif asked then
    pause(s, now, asked)
  end
end
local function grow(s, now)
  local round = max(1000, 1 / s.rate)
  local rounds = min(2, max(0, now - s.grownAt) / round)
  s.grownAt = now
  s.baseline = s.baseline + max(0, s.latency - s.baseline) * rounds / 60
  if s.latency > 4 * s.baseline then
    local lower = s.rate * (1 - 0.05 * rounds)
    if lower >= s.ceiling / 2 then setRate(s, now, lower) end
    return
  end
  if s.latency > 2 * s.baseline or level(s, now) < s.rate / 2 then return end
  local well = min(100, (now - max(s.decreasedAt, s.pausedUntil)) / round)
  local back = max(0, 0.95 * s.ceiling - s.rate) * min(1, rounds / 1.5)
  local grown = s.rate + back + s.rate * 0.001 * well * rounds
  if grown >= 1000 then s.rate = 0 else setRate(s, now, grown) end
end
local function answered(s, now, grantedAt, took)
  if rateAt(s, now) == 0 then s.rate = 0 return end
  if took and took > 0 then
    local millis = min(took, 3600000)
    if s.latency == 0 then s.latency = millis else s.latency = s.latency + (millis - s.latency) / 10 end
    if s.baseline == 0 or s.latency < s.baseline then s.baseline = s.latency end
  end
  if grantedAt <= s.decreasedAt or now < s.pausedUntil or calm(s, now) > 0 then return end
  grow(s, now)
end
local function budget(s, now, remaining, reset)
  if not remaining or not reset or reset == 0 then return end
  local used = level(s, now)
  local allowed = remaining / min(reset, 60000)
  if remaining >= 1 and allowed >= used then return end
  if rateAt(s, now) == 0 then s.ceiling = used end
  if remaining < 1 then setRate(s, now, used) else setRate(s, now, allowed) end
  s.grownAt = now
  pause(s, now, remaining < 1 and reset or 0)
end
local function observe(s, now, grantedAt, congested, retryAfter, remaining, reset, latency, isGuess)
  local granted = now - min(latency or 0, 3600000)
  if grantedAt then granted = min(grantedAt, now) end
  if congested and isGuess then
    if retryAfter then pause(s, now, retryAfter) end
  elseif congested then refused(s, now, granted, retryAfter) else answered(s, now, granted, latency) end
  budget(s, now, remaining, reset)
end
`
