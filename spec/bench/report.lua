--- report.html: the summary, and a picture of each workload. One file that needs nothing else.

local show = require "show"
local summary = require "summary"

local M = {}

local style = [[
:root { color-scheme: light dark; --text: #1b1f24; --faint: #5b6470; --back: #ffffff; --line: #d8dde3;
  --corun: #c2410c; --peer: #5b84b1; --limit: #9aa3ad; --bad: #b42318; --good: #18794e; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e9ed; --faint: #9aa5b1; --back: #14181d; --line: #303842;
  --corun: #fb923c; --peer: #6f9fd0; --limit: #66707b; --bad: #ff8a7a; --good: #5fd39b; } }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 0; }
p { margin: .2rem 0; }
.faint, figcaption { color: var(--faint); }
code { font-family: ui-monospace, monospace; font-size: .92em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; }
td a { color: inherit; }
.no { color: var(--bad); font-weight: 600; }
.yes { color: var(--good); }
figure { margin: .4rem 0 0; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 13px system-ui, sans-serif; fill: var(--text); dominant-baseline: central; }
svg .name { text-anchor: end; }
svg .value { font-variant-numeric: tabular-nums; }
svg .own { font-weight: 600; }
.bar-corun { fill: var(--corun); } .bar-peer { fill: var(--peer); } .bar-limit { fill: var(--limit); }
]]

local escapes = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }
local function escape(text) return (tostring(text):gsub('[&<>"]', escapes)) end

--- Replaces each {name} by the field of that name, escaped; {=name} as it is.
local function fill(template, fields)
  return (template:gsub("{(=?)([%w_]+)}", function(raw, name)
    local value = fields[name] ~= nil and fields[name] or ""
    return raw == "=" and tostring(value) or escape(value)
  end))
end

-- The picture of a workload

local row_height, bar_height, left, right, width = 26, 17, 190, 540, 880

local function value_of(result, entry)
  if entry.failed then return nil end
  if entry.bytes then return math.max(entry.bytes, 0) end
  return entry.seconds and entry.seconds > 0 and result.size / entry.seconds or nil
end

local function text_of(result, entry)
  if entry.failed then return "failed: " .. entry.failed end
  if entry.bytes then
    return ("%s, %s s"):format(show.bytes(entry.bytes), show.number("%.2f", entry.seconds))
  end
  local text = show.rate(result.workload, result.size, entry.seconds)
  if entry.name == "limit" or not entry.ratio then return text end
  return ("%s, %s of the limit"):format(text, show.ratio(entry.ratio))
end

--- What a full bar is: the most of corun and its peers; more of the limit only if that leaves them readable.
local function full_bar(result)
  local most, all = 0, 0
  for _, entry in ipairs(result.entries) do
    local value = value_of(result, entry) or 0
    all = math.max(all, value)
    if entry.is_peer or entry.name == "corun" then most = math.max(most, value) end
  end
  if most == 0 then return math.max(all, 1e-9) end
  return all <= 2.5 * most and all or 1.1 * most
end

local function class_of(entry)
  if entry.name == "corun" then return "corun" end
  return entry.is_peer and "peer" or "limit"
end

--- A bar with its name and value; one that goes on beyond the picture has a pointed end.
local function bar(result, entry, y, full)
  local value = value_of(result, entry)
  local length = math.min((value or 0) / full, 1) * (right - left)
  local shape = ""
  if value and value > full then
    shape = ('<path class="bar-%s" d="M%d %dH%dl9 %.1fl-9 %.1fH%dZ"/>'):format(class_of(entry), left,
      y - bar_height // 2, right - 9, bar_height / 2, bar_height / 2, left)
  elseif value then
    shape = ('<rect class="bar-%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>'):format(class_of(entry), left,
      y - bar_height // 2, math.max(length, 1), bar_height)
  end
  return fill('<text class="name{own}" x="{x}" y="{y}">{label}</text>{=shape}<text class="value{own}" x="{end_x}" '
    .. 'y="{y}">{text}</text>', {
      own = entry.name == "corun" and " own" or "", x = left - 8, y = y, label = entry.label, shape = shape,
      end_x = ("%.1f"):format(left + (value and length or 0) + 8), text = text_of(result, entry),
    })
end

local function picture(result)
  local bars, full = {}, full_bar(result)
  for i, entry in ipairs(result.entries) do bars[i] = bar(result, entry, i * row_height - row_height // 2, full) end
  return ('<svg viewBox="0 0 %d %d" role="img" aria-label="%s">%s</svg>'):format(width, #bars * row_height,
    escape(show.title(result.workload)), table.concat(bars, "\n"))
end

local function section(result)
  local row = summary.row(result)
  local is_bytes = result.workload.compares == "bytes"
  return fill([[
<h2 id="{id}">{workload}</h2>
<p>{what}{times}; {better}</p>
<figure>{=picture}<figcaption>{budget}</figcaption></figure>
]], {
    id = show.title(result.workload):gsub("%W+", "-"), workload = row.workload, what = row.what,
    times = (" (%d times, %d rounds)"):format(result.size, result.rounds),
    better = is_bytes and "shorter is better" or "longer is better",
    picture = picture(result), budget = row.budget ~= "-" and "Budget: " .. row.budget or "",
  })
end

local function summary_table(results)
  local rows = {}
  for i, result in ipairs(results) do
    local row = summary.row(result)
    row.id = show.title(result.workload):gsub("%W+", "-")
    row.budget = escape(row.budget):gsub("MISSED", '<span class="no">missed</span>')
    rows[i] = fill('<tr><td><a href="#{id}">{workload}</a></td><td>{value}</td><td>{to_limit}</td><td>{best_peer}</td>'
      .. '<td>{lead}</td><td class="{fastest}">{fastest}</td><td>{=budget}</td></tr>', row)
  end
  return "<tr><th>workload</th><th>corun</th><th>of the limit</th><th>best peer</th><th>corun to it</th>"
    .. "<th>fastest</th><th>budget</th></tr>\n" .. table.concat(rows, "\n")
end

local function versions_table(versions)
  local rows = {}
  for i, version in ipairs(versions) do rows[i] = fill("<tr><td>{name}</td><td>{text}</td></tr>", version) end
  return table.concat(rows, "\n")
end

--- The text of report.html.
function M.html(results, about)
  local sections = {}
  for i, result in ipairs(results) do sections[i] = section(result) end
  return fill([[
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>corun: the benchmark</title>
<style>
{=style}</style>
</head>
<body>
<h1>corun: the benchmark</h1>
<p class="faint">{cpu}, {cores} cores, {memory} GB, {distribution}, Linux {kernel}; {date};
medians of {rounds} rounds</p>
<p class="faint"><code>{command}</code></p>
<p>The limit is a C program of plain system calls. All contenders do the same job, one after the other in each round.
A ratio is a speed: 1 is as fast, less is slower; for memory, 2 is half of it.</p>
<div class="scroll"><table>
{=summary}
</table></div>
{=sections}
<h2>Versions</h2>
<div class="scroll"><table>
{=versions}
</table></div>
</body>
</html>
]], {
    style = style, cpu = about.machine.cpu, cores = about.machine.cores,
    memory = ("%.0f"):format(about.machine.memory / 1e9), distribution = about.machine.distribution,
    kernel = about.machine.kernel, date = about.date, rounds = summary.rounds(results),
    command = about.command, summary = summary_table(results), sections = table.concat(sections),
    versions = versions_table(about.versions),
  })
end

return M
