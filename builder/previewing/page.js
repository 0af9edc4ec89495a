"use strict";
(() => {
  document.documentElement.classList.add("script");
  const viewer = document.getElementById("viewer");
  const rows = [...viewer.querySelectorAll(".row")];
  if (!rows.length) return;
  const status = document.getElementById("status");
  const chooser = document.getElementById("chooser");
  const previous = document.getElementById("previous");
  const next = document.getElementById("next");
  const strip = [...document.querySelectorAll(".strip button")];
  let current = -1;

  // One row: its shapes on the stage and its list of masks, by the masks' numbers.
  const parts = rows.map((row) => {
    const group = row.querySelector(".shapes");
    const list = row.querySelector(".masks");
    const readout = row.querySelector(".readout");
    const byNumber = (nodes) => new Map([...nodes].map((node) => [node.dataset.mask, node]));
    const shapes = byNumber(group.children);
    const options = byNumber(list ? list.children : []);
    let lit = null;

    const light = (number, scroll) => {
      for (const node of lit === null ? [] : [shapes.get(lit), options.get(lit)]) node.classList.remove("lit");
      lit = number;
      group.classList.toggle("pointing", lit !== null);
      if (lit === null) {
        readout.textContent = readout.dataset.hint;
        return;
      }
      const option = options.get(lit);
      for (const node of [shapes.get(lit), option]) node.classList.add("lit");
      readout.textContent = option.getAttribute("aria-label") + (isOn(lit) ? "" : ", switched off");
      if (scroll) {
        const top = option.offsetTop - list.offsetTop;
        if (top < list.scrollTop) list.scrollTop = top;
        else if (top + option.offsetHeight > list.scrollTop + list.clientHeight)
          list.scrollTop = top + option.offsetHeight - list.clientHeight;
      }
    };
    const isOn = (number) => options.get(number).getAttribute("aria-selected") === "true";
    const turn = (number, on) => {
      options.get(number).setAttribute("aria-selected", String(on));
      shapes.get(number).classList.toggle("off", !on);
    };
    const toggle = (number) => {
      turn(number, !isOn(number));
      light(number, false);
      status.textContent = `Mask ${number} ${isOn(number) ? "on" : "off"}`;
    };
    const numberOf = (event) => event.target.closest("[data-mask]")?.dataset.mask ?? null;
    const active = () => list.querySelector(".active")?.dataset.mask ?? [...options.keys()][0];
    const activate = (number) => {
      list.querySelector(".active")?.classList.remove("active");
      options.get(number).classList.add("active");
      list.setAttribute("aria-activedescendant", options.get(number).id);
      light(number, true);
    };

    readout.textContent = readout.dataset.hint;
    if (list) {
      group.addEventListener("pointerover", (event) => light(numberOf(event), true));
      group.addEventListener("pointerleave", () => light(null));
      list.addEventListener("pointerover", (event) => light(numberOf(event), false));
      list.addEventListener("pointerleave", () => light(null));
      for (const place of [group, list])
        place.addEventListener("click", (event) => {
          const number = numberOf(event);
          if (number === null) return;
          if (place === list) activate(number);
          toggle(number);
        });
      list.addEventListener("focus", () => { if (list.matches(":focus-visible")) activate(active()); });
      list.addEventListener("blur", () => light(null));
      list.addEventListener("keydown", (event) => {
        const numbers = [...options.keys()];
        const at = numbers.indexOf(active());
        const page = Math.max(1, Math.floor(list.clientHeight / options.get(numbers[0]).offsetHeight) - 1);
        const moves = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: numbers.length - 1, PageDown: at + page, PageUp: at - page };
        if (event.ctrlKey || event.altKey || event.metaKey) return;
        if (event.key in moves) activate(numbers[Math.min(numbers.length - 1, Math.max(0, moves[event.key]))]);
        else if (event.key === " " || event.key === "Enter") toggle(active());
        else if (event.key === "Escape") light(null);
        else return;
        event.preventDefault();
      });
    }
    for (const button of row.querySelectorAll("[data-all]"))
      button.addEventListener("click", () => {
        const on = button.dataset.all === "on";
        for (const number of options.keys()) turn(number, on);
        status.textContent = `All ${options.size} masks ${button.dataset.all}`;
      });
    return { clear: () => light(null) };
  });

  const show = (place, say) => {
    place = Math.min(rows.length - 1, Math.max(0, place));
    if (place === current) return;
    if (current >= 0) parts[current].clear();
    const held = document.activeElement?.closest(".row") ? document.activeElement : null;
    current = place;
    rows.forEach((row, i) => { row.hidden = i !== place; });
    strip.forEach((button, i) => button.classList.toggle("current", i === place));
    if (strip[place]) {
      const film = strip[place].parentElement;
      film.scrollLeft = strip[place].offsetLeft - film.offsetLeft - film.clientWidth / 2 + strip[place].clientWidth / 2;
    }
    chooser.value = String(place);
    // Not `disabled`: a button that loses the focus loses its user too.
    previous.setAttribute("aria-disabled", String(place === 0));
    next.setAttribute("aria-disabled", String(place === rows.length - 1));
    // What held the focus is hidden now: the same thing of the new row takes it.
    if (held) (held.matches(".masks") && rows[place].querySelector(".masks") || chooser).focus();
    if (say) {
      const count = rows[place].querySelectorAll(".masks li").length;
      status.textContent = `Row ${place + 1} of ${rows.length}: ${rows[place].getAttribute("aria-label")}, ${count} masks`;
      try { history.replaceState(null, "", `#row-${place + 1}`); } catch { /* a browser that forbids it for files */ }
    }
  };
  const fromAddress = () => {
    const found = /^#row-(\d+)$/.exec(location.hash);
    return found ? Number(found[1]) - 1 : 0;
  };

  previous.addEventListener("click", () => show(current - 1, true));
  next.addEventListener("click", () => show(current + 1, true));
  chooser.addEventListener("change", () => show(Number(chooser.value), true));
  strip.forEach((button, i) => button.addEventListener("click", () => show(i, true)));
  window.addEventListener("hashchange", () => show(fromAddress(), true));
  document.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    if (event.target.matches("input, select, .wide")) return; // theirs
    show(current + step, true);
    event.preventDefault();
  });
  for (const set of document.querySelectorAll("[data-sets]"))
    set.addEventListener("change", (event) => { viewer.dataset[set.dataset.sets] = event.target.value; });
  show(fromAddress(), false);
})();
