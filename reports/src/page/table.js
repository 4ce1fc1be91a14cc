// The list under the timeline: every shown event as a line. Only the lines in view are made.

const LINE = 22;

/** A list of the shown events. */
function newTable(app, scroller) {
  const spacer = element('div', { class: 'spacer' });
  const lines = element('div', { class: 'list-lines' });
  scroller.append(spacer, lines);
  let entries = [];

  /** The shown rows of all runs by time. With `inView`, those of the window alone. */
  function collect(inView) {
    const [from, to] = inView ? [app.view.from, app.view.to] : [-Infinity, Infinity];
    entries = [];
    for (const run of app.model.runs) {
      const first = lowerBound(run.count, (row) => run.at[row], from);
      for (let row = first; row < run.count && run.at[row] <= to; row += 1) {
        if (run.shown[row]) entries.push({ run, row });
      }
    }
    if (app.model.runs.length > 1) entries.sort((one, other) => one.run.at[one.row] - other.run.at[other.row]);
    spacer.style.height = `${entries.length * LINE}px`;
    return entries.length;
  }

  function lineOf({ run, row }, index) {
    const isSelected = app.view.selected && app.view.selected.run === run && app.view.selected.row === row;
    const kind = kindOf(app.model, run, row);
    return element(
      'div',
      {
        class: `line weight-${run.weight[row]}${isSelected ? ' selected' : ''}${run.number ? ' twin' : ''}`,
        style: `top:${index * LINE}px`,
        onclick: () => app.select({ run, row }, true),
      },
      element('span', { class: 'at' }, clock(run.at[row])),
      element('span', { class: 'kind' }, run.number ? `${kind} (twin)` : kind),
      element('span', { class: 'who' }, who(run, row)),
      element('span', { class: 'what' }, say(app.model, run, row)),
    );
  }

  function paint() {
    const first = Math.max(0, Math.floor(scroller.scrollTop / LINE) - 4);
    const last = Math.min(entries.length, Math.ceil((scroller.scrollTop + scroller.clientHeight) / LINE) + 4);
    lines.replaceChildren(...entries.slice(first, last).map((entry, index) => lineOf(entry, first + index)));
  }

  /** Brings an event's line into view; or the first at or after a time. */
  function reveal(run, row, at) {
    const time = run ? run.at[row] : at;
    let index = lowerBound(entries.length, (place) => entries[place].run.at[entries[place].row], time);
    while (run && entries[index] && !(entries[index].run === run && entries[index].row === row) && entries[index].run.at[entries[index].row] === time) index += 1;
    const top = index * LINE;
    if (top < scroller.scrollTop + LINE || top > scroller.scrollTop + scroller.clientHeight - 2 * LINE) scroller.scrollTop = top - scroller.clientHeight / 3;
  }

  scroller.addEventListener('scroll', () => requestAnimationFrame(paint), { passive: true });
  return { collect, paint, reveal };
}
