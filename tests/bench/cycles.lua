-- What wrk does over and over on each connection: one cycle of requests, chosen by the environment variable CYCLE.
-- Run wrk with as many threads as connections: a thread has one script, and a request may need what the one before
-- it was answered (the token of a lock).
local folder, host = os.getenv("FOLDER"), os.getenv("HOST")
local content = string.rep("0123456789abcdef", 256)
local xml = "application/xml; charset=utf-8"
local wanted = [[<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/>]] ..
  [[<D:getcontentlength/><D:getlastmodified/><D:creationdate/><D:getetag/><D:getcontenttype/><D:lockdiscovery/>]] ..
  [[</D:prop></D:propfind>]]
local lockinfo = [[<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/>]] ..
  [[</D:lockscope><D:locktype><D:write/></D:locktype><D:owner>bench</D:owner></D:lockinfo>]]

-- Globals are what wrk hands over between its threads.
mine, finished, clean, wrong = "", 0, 0, 0
local token, spoilt = "", false

local function get(path) return function() return "GET", path() end end
local function put(path, fields)
  return function() return "PUT", path(), fields and fields() or {}, content end
end
local function propfind(path, depth)
  return function() return "PROPFIND", path(), { Depth = depth, ["Content-Type"] = xml }, wanted end
end
local function lock(path)
  return function() return "LOCK", path(), { Depth = "0", Timeout = "Second-600", ["Content-Type"] = xml }, lockinfo end
end
local function unlock(path)
  return function() return "UNLOCK", path(), { ["Lock-Token"] = "<" .. token .. ">" } end
end
local function move(path, to)
  return function() return "MOVE", path(), { Destination = "http://" .. host .. to(), Overwrite = "T" } end
end
local function delete(path) return function() return "DELETE", path() end end
local function holding() return { If = "(<" .. token .. ">)" } end

local function small() return folder .. "small" end
local function document() return folder .. mine .. "-document" end
local function other() return folder .. mine .. "-other" end
local function another() return folder .. mine .. "-" .. finished % 100 end
local function new() return folder .. mine .. "-new-" .. finished end
local function thousand() return folder .. "thousand/" end

-- first: done once, before anything is counted
local cycles = {
  get = { get(small) },
  put = { put(another) },
  put_new = { put(new) },
  propfind = { propfind(small, "0") },
  list = { propfind(thousand, "1") },
  lock = { first = put(document), lock(document), unlock(document) },
  office = { first = put(document), propfind(document, "0"), lock(document), get(document), put(document, holding),
             unlock(document) },
  shuffle = { put(document), move(document, other), delete(other) },
}

local steps, at
local threads = {}

function setup(thread)
  table.insert(threads, thread)
  thread:set("mine", os.getenv("RUN") .. "-" .. #threads)
end

function init()
  steps = cycles[os.getenv("CYCLE")]
  at = steps.first and 0 or 1
end

function request()
  local method, path, fields, body = (at == 0 and steps.first or steps[at])()
  return wrk.format(method, path, fields or {}, body)
end

function response(status, fields)
  if status >= 300 then wrong, spoilt = wrong + 1, true end
  local given = fields["Lock-Token"] or fields["lock-token"]
  if given then token = string.gsub(given, "[<>]", "") end
  if at == #steps then
    finished = finished + 1
    if not spoilt then clean = clean + 1 end
    spoilt = false
  end
  at = at % #steps + 1
end

function done(summary, latency)
  local cycles_finished, cycles_clean, answers_wrong = 0, 0, 0
  for _, thread in ipairs(threads) do
    cycles_finished = cycles_finished + thread:get("finished")
    cycles_clean = cycles_clean + thread:get("clean")
    answers_wrong = answers_wrong + thread:get("wrong")
  end
  local errors = summary.errors
  print(string.format('{"cycles": %d, "clean": %d, "seconds": %f, "wrong": %d, "cut": %d, "median_ms": %f, "p99_ms": %f}',
    cycles_finished, cycles_clean, summary.duration / 1e6, answers_wrong,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
