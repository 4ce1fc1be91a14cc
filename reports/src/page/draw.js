// The picture: only what is in the window, one mark a pixel.

const FAMILY = {
  'api-write': 'write', 'api-request': 'request', 'api-refused': 'bad', call: 'call', 'store-operation': 'store', step: 'step',
  log: 'log', violation: 'damage', hazard: 'odd', probe: 'probe', fault: 'fault', phase: 'phase', machine: 'machine',
  'process-began': 'process', 'process-ended': 'process', executed: 'process', connected: 'log',
};

/** Colours from the style sheet, so that they follow the reader's scheme. */
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ['paper', 'raised', 'rule', 'ink', 'faint', 'write', 'create', 'delete', 'request', 'call', 'store', 'step', 'log', 'probe', 'fault',
    'phase', 'machine', 'process', 'odd', 'bad', 'damage', 'object', 'deleting', 'running', 'frozen', 'off', 'select', 'twin', 'program'];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

const BAR_COLOUR = {
  fault: 'fault', phase: 'phase', running: 'running', frozen: 'frozen', off: 'off', process: 'process', 'ended-badly': 'bad', object: 'object',
  deleting: 'deleting', call: 'call', 'call-failed': 'bad', program: 'program', heartbeats: 'log',
};

/** Makes a canvas as sharp as the screen; gives its context. */
function prepare(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** A text that fits, cut in its middle: beginnings and ends of names tell them apart. */
function fitted(context, text, room, cache) {
  const key = `${context.font} ${room} ${text}`;
  if (!cache.has(key)) {
    // Rooms change with every zoom.
    if (cache.size > 4000) cache.clear();
    let short = text;
    for (let keep = text.length; keep > 3 && context.measureText(short).width > room; keep -= 1) {
      short = `${text.slice(0, Math.ceil(keep / 2))}…${text.slice(text.length - Math.floor(keep / 2) + 1)}`;
    }
    cache.set(key, short);
  }
  return cache.get(key);
}

/** A painter of the timeline. */
function newPainter(app, canvas) {
  const fits = new Map();
  let colours = readColours();
  const { view, model } = app;

  function colourOf(run, row) {
    const weight = run.weight[row];
    if (weight === WEIGHT.damage) return colours.damage;
    if (weight === WEIGHT.bad) return colours.bad;
    if (weight === WEIGHT.odd) return colours.odd;
    const name = model.kinds[run.kind[row]].name;
    if (name === 'api-write') {
      const verb = run.strings[run.events[row][HEAD]];
      return verb === 'create' ? colours.create : verb === 'delete' ? colours.delete : colours.write;
    }
    return colours[FAMILY[name]] || colours.log;
  }

  /** Marks of a track: neighbours of one colour become one block. */
  function marks(context, run, rows, y, height) {
    const scale = (view.width - view.gutter) / (view.to - view.from);
    let index = lowerBound(rows.length, (at) => run.at[rows[at]], view.from - 2 / scale);
    let [begin, end, colour] = [-1, -1, ''];
    for (; index < rows.length; index += 1) {
      const row = rows[index];
      const at = run.at[row];
      if (at > view.to) break;
      const x = Math.round(view.gutter + (at - view.from) * scale);
      // One mark a pixel: what is loud is drawn after, on top.
      if (x < end - 1) continue;
      const own = colourOf(run, row);
      if (own === colour && x <= end + 1) {
        end = x + 2;
        continue;
      }
      if (begin >= 0) {
        context.fillStyle = colour;
        context.fillRect(begin, y, end - begin, height);
      }
      [begin, end, colour] = [x, x + 2, own];
    }
    if (begin >= 0) {
      context.fillStyle = colour;
      context.fillRect(begin, y, end - begin, height);
    }
  }

  function bars(context, track, y, height) {
    const { from, to } = view;
    let drawn = -1;
    for (let index = lowerBound(track.bars.length, (at) => track.ends[at], from); index < track.bars.length; index += 1) {
      const bar = track.bars[index];
      if (bar.from > to) break;
      if (bar.to < from || !barShown(bar)) continue;
      const left = Math.max(xOf(view, bar.from), view.gutter);
      const right = Math.min(xOf(view, bar.to), view.width);
      // Short ones that fall on a pixel that has one already.
      if (right <= drawn && right - left < 1.5) continue;
      drawn = Math.max(drawn, Math.ceil(right));
      const width = Math.max(right - left, 1.5);
      context.globalAlpha = bar.style === 'heartbeats' || bar.style === 'running' ? 0.35 : bar.style === 'object' || bar.style === 'process' ? 0.5 : 0.85;
      context.fillStyle = colours[BAR_COLOUR[bar.style]];
      context.fillRect(left, y, width, height);
      context.globalAlpha = 1;
      if (bar.label && bar.style !== 'running' && width > 40 && height >= 11) {
        context.fillStyle = colours.ink;
        context.fillText(fitted(context, bar.label, Math.floor(width / 8) * 8 - 8, fits), left + 4, y + height / 2 + 0.5);
      }
    }
  }

  /** A bar of a single event goes with that event; one of a life stays as long as its lane does. */
  function barShown(bar) {
    return bar.begins < 0 || bar.begins !== bar.ends || model.runs[bar.run].shown[bar.begins] === 1;
  }

  function tracks(context, row, y) {
    const holder = row.lane || row.group;
    const height = row.lane ? row.height : row.height - 8;
    const top = row.lane ? y : y + 4;
    const share = height / holder.tracks.length;
    holder.tracks.forEach((track, number) => {
      const run = model.runs[number];
      const [begin, room] = [top + share * number + 1, share - 2];
      if (row.lane) bars(context, track, begin + 1, room - 2);
      marks(context, run, track.visible, begin + 1, room - 2);
      marks(context, run, track.loud, begin, room);
    });
  }

  /** Times, where no tag stands. */
  function ruler(context, step, tags) {
    const digits = step >= 1e9 ? 0 : Math.min(9, Math.ceil(-Math.log10(step / 1e9)));
    context.fillStyle = colours.faint;
    for (let at = Math.ceil(Math.max(view.from, 0) / step) * step; at <= view.to; at += step) {
      const x = Math.round(xOf(view, at));
      const told = clock(at + 0.5, digits);
      const end = x + 3 + context.measureText(told).width;
      context.fillRect(x, SIZE.ruler - 6, 1, 6);
      if (!tags.some(({ left, room }) => left < end + 4 && left + room > x)) context.fillText(told, x + 3, SIZE.ruler / 2);
    }
  }

  function grid(context, step, height) {
    context.fillStyle = colours.rule;
    for (let at = Math.ceil(Math.max(view.from, 0) / step) * step; at <= view.to; at += step) {
      context.fillRect(Math.round(xOf(view, at)), SIZE.ruler, 1, height);
    }
  }

  /** Faults as bands behind all lanes (as lines, where a band would be too thin to see), and the time in which the failure was decided. */
  function bands(context, height) {
    context.fillStyle = colours.fault;
    for (const bar of app.faults) {
      const left = Math.max(xOf(view, bar.from), view.gutter);
      const right = Math.min(xOf(view, bar.to), view.width);
      if (right < view.gutter || left > view.width) continue;
      const isThin = xOf(view, bar.to) - xOf(view, bar.from) < 2;
      context.globalAlpha = (bar.run ? 0.05 : 0.1) * (isThin ? 4 : 1);
      context.fillRect(left, SIZE.ruler, isThin ? 2 : right - left, height);
    }
    if (model.decided) {
      const [left, right] = model.decided.map((at) => Math.min(Math.max(xOf(view, at), view.gutter), view.width));
      context.globalAlpha = 0.12;
      context.fillStyle = colours.odd;
      context.fillRect(left, SIZE.ruler, right - left, height);
    }
    context.globalAlpha = 1;
  }

  /** What is marked through all lanes, with where its tag stands in the ruler: damage, where the runs part, from where on none passes. */
  function marked(context) {
    const all = app.damage.map(({ at, run }) => ({ at, colour: colours.damage, label: run ? 'violation in the twin' : 'violation', dash: [] }));
    if (model.parted) all.push({ at: model.parted[0], colour: colours.twin, label: 'they part here', dash: [5, 4] });
    if (model.decided) all.push({ at: model.decided[1], colour: colours.odd, label: 'decided by here', dash: [2, 3] });
    const placed = all.map((mark) => {
      const x = Math.round(xOf(view, mark.at)) + 0.5;
      const room = context.measureText(mark.label).width + 10;
      return { ...mark, x, room, left: x + room > view.width ? x - room : x };
    });
    const seen = placed.filter(({ x }) => x >= view.gutter && x <= view.width).sort((one, other) => one.x - other.x);
    // Of two tags that would stand in the same place, the first gives way to the left.
    seen.forEach((tag, index) => {
      const next = seen[index + 1];
      if (next && next.left < tag.left + tag.room && tag.x - tag.room > view.gutter) tag.left = tag.x - tag.room;
    });
    return seen;
  }

  function upright(context, { x, room, left, colour, label, dash }, height) {
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.setLineDash(dash);
    context.beginPath();
    context.moveTo(x, SIZE.ruler - 4);
    context.lineTo(x, height + SIZE.ruler);
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = colour;
    context.fillRect(left, 2, room, 14);
    context.fillStyle = colours.paper;
    context.fillText(label, left + 5, 9.5);
  }

  function labels(context, scroll, height) {
    context.fillStyle = colours.raised;
    context.fillRect(0, 0, view.gutter, height + SIZE.ruler);
    context.fillStyle = colours.rule;
    context.fillRect(view.gutter - 1, 0, 1, height + SIZE.ruler);
    for (const row of visibleRows(scroll, height)) {
      const y = SIZE.ruler + row.y - scroll;
      const middle = y + row.height / 2 + 0.5;
      if (row.lane) {
        const isSelected = view.selected && view.selected.run.laneOf(view.selected.row) === row.lane;
        context.font = app.fonts.lane;
        context.fillStyle = isSelected ? colours.select : colours.ink;
        context.fillText(fitted(context, row.lane.label, view.gutter - 36, fits), 26, middle);
      } else {
        context.font = app.fonts.group;
        context.fillStyle = colours.ink;
        context.fillText(row.group.open ? '▾' : '▸', 9, middle);
        const label = fitted(context, row.group.label, view.gutter - 66, fits);
        context.fillText(label, 24, middle);
        const after = 24 + context.measureText(label).width + 8;
        context.font = app.fonts.lane;
        context.fillStyle = colours.faint;
        context.fillText(row.group.lanes.length > 1 ? String(row.group.lanes.length) : '', after, middle);
      }
    }
    context.fillStyle = colours.raised;
    context.fillRect(0, 0, view.gutter - 1, SIZE.ruler);
    context.fillStyle = colours.rule;
    context.fillRect(0, SIZE.ruler - 1, view.width, 1);
    context.font = app.fonts.lane;
    context.fillStyle = colours.faint;
    const told = model.runs.length > 1 ? 'above: this run, below: its twin' : `${duration(Math.round(view.to - view.from))} shown`;
    context.fillText(told, 10, SIZE.ruler / 2);
  }

  function visibleRows(scroll, height) {
    const first = lowerBound(view.rows.length, (at) => view.rows[at].y + view.rows[at].height, scroll);
    const last = lowerBound(view.rows.length, (at) => view.rows[at].y, scroll + height);
    return view.rows.slice(first, last);
  }

  /** The selected event, and arrows to what led to it and came of it. */
  function selection(context, scroll) {
    if (!view.selected) return;
    const { run, row } = view.selected;
    const place = (other) => {
      const standing = rowOf(view, run.laneOf(other));
      return standing && { x: xOf(view, run.at[other]), y: SIZE.ruler + standing.y + (standing.height * (run.number + 0.5)) / model.runs.length - scroll };
    };
    const own = place(row);
    if (!own) return;
    for (const { to, colour } of linksOf(app, run, row)) {
      const other = place(to);
      if (other) curve(context, other, own, colours[colour]);
    }
    context.strokeStyle = colours.select;
    context.lineWidth = 2;
    context.beginPath();
    context.arc(own.x, own.y, 7, 0, Math.PI * 2);
    context.stroke();
  }

  function curve(context, one, other, colour) {
    const bend = Math.max(24, Math.abs(other.x - one.x) / 3);
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(one.x, one.y);
    context.bezierCurveTo(one.x + bend, one.y, other.x - bend, other.y, other.x, other.y);
    context.stroke();
    context.fillStyle = colour;
    context.beginPath();
    context.arc(one.x, one.y, 3, 0, Math.PI * 2);
    context.fill();
  }

  return {
    recolour() { colours = readColours(); },
    colours: () => colours,
    paint(scroll, width, height) {
      view.width = width;
      const room = height - SIZE.ruler;
      const context = prepare(canvas, width, height);
      context.textBaseline = 'middle';
      context.font = app.fonts.lane;
      context.fillStyle = colours.paper;
      context.fillRect(0, 0, width, height);
      context.save();
      context.beginPath();
      context.rect(view.gutter, SIZE.ruler, width - view.gutter, room);
      context.clip();
      const step = rulerStep(view.to - view.from, (width - view.gutter) / 110);
      grid(context, step, room);
      bands(context, room);
      for (const row of visibleRows(scroll, room)) {
        const y = SIZE.ruler + row.y - scroll;
        if (!row.lane) {
          context.globalAlpha = 0.6;
          context.fillStyle = colours.raised;
          context.fillRect(view.gutter, y, width, row.height);
          context.globalAlpha = 1;
        }
        if (view.hovered === row) {
          context.globalAlpha = 0.08;
          context.fillStyle = colours.select;
          context.fillRect(view.gutter, y, width, row.height);
          context.globalAlpha = 1;
        }
        // An open group's marks stand in its lanes.
        if (row.lane || !row.group.open) tracks(context, row, y);
      }
      context.restore();
      context.save();
      context.beginPath();
      context.rect(view.gutter, 0, width - view.gutter, height);
      context.clip();
      const tags = marked(context);
      ruler(context, step, tags);
      tags.forEach((tag) => upright(context, tag, room));
      context.beginPath();
      context.rect(view.gutter, SIZE.ruler, width - view.gutter, room);
      context.clip();
      selection(context, scroll);
      if (view.range) {
        context.globalAlpha = 0.2;
        context.fillStyle = colours.select;
        context.fillRect(xOf(view, view.range[0]), 0, xOf(view, view.range[1]) - xOf(view, view.range[0]), height);
      }
      context.restore();
      labels(context, scroll, room);
    },
  };
}

/** The whole run in a strip: how much happened when, and which part of it is shown. */
function paintOverview(app, canvas, width, height) {
  const { view, model } = app;
  const colours = app.painter.colours();
  const context = prepare(canvas, width, height);
  const x = (at) => view.gutter + (Math.max(0, at) / view.end) * (width - view.gutter);
  context.fillStyle = colours.raised;
  context.fillRect(0, 0, width, height);
  const most = Math.max(...app.density, 1);
  app.density.forEach((count, column) => {
    const tall = count ? 3 + (height - 12) * Math.sqrt(count / most) : 0;
    const share = (width - view.gutter) / app.density.length;
    context.fillStyle = colours.write;
    context.globalAlpha = 0.55;
    context.fillRect(view.gutter + column * share, height - tall, Math.max(share - 0.5, 0.5), tall);
  });
  for (const bar of app.faults.filter((each) => each.run === 0)) {
    const isThin = x(bar.to) - x(bar.from) < 2;
    context.globalAlpha = isThin ? 0.6 : 0.25;
    context.fillStyle = colours.fault;
    context.fillRect(x(bar.from), 0, isThin ? 2 : x(bar.to) - x(bar.from), height);
  }
  context.globalAlpha = 1;
  context.font = app.fonts.lane;
  context.textBaseline = 'middle';
  for (const { at } of app.damage) {
    context.fillStyle = colours.damage;
    context.fillRect(x(at) - 1, 0, 2, height);
  }
  if (model.parted) {
    context.fillStyle = colours.twin;
    context.fillRect(x(model.parted[0]) - 1, 0, 2, height);
  }
  if (model.decided) {
    const [from, to] = model.decided.map(x);
    context.fillStyle = colours.odd;
    context.globalAlpha = 0.35;
    context.fillRect(from, 0, Math.max(to - from, 2), height);
  }
  context.fillStyle = colours.paper;
  context.globalAlpha = 0.6;
  context.fillRect(view.gutter, 0, x(view.from) - view.gutter, height);
  context.fillRect(x(view.to), 0, width - x(view.to), height);
  context.globalAlpha = 1;
  context.strokeStyle = colours.select;
  context.lineWidth = 1.5;
  context.strokeRect(x(view.from), 1, Math.max(Math.min(x(view.to), width - 1) - x(view.from), 3), height - 2);
  context.fillStyle = colours.faint;
  context.fillText('the whole run', 10, height / 2);
}
