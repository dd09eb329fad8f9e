/* Sort tables, place the lists of runs, and open the targets of links. The page is readable without JavaScript. */
(() => {
  'use strict';

  // One fixed language, so that a column sorts alike on every machine; numbers inside names count as numbers.
  const collator = new Intl.Collator('en', { numeric: true });

  /** Compare two values of a column: numbers sort before words. */
  function compare(value, other) {
    const [first, second] = [Number(value), Number(other)];
    const words = [Number.isNaN(first) || value === '', Number.isNaN(second) || other === ''];
    if (words[0] && words[1]) return collator.compare(value, other);
    if (words[0] || words[1]) return words[0] - words[1];
    return first - second; // NaN for two infinities, which sort() treats as equal
  }

  function makeSortable(table) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const headings = [...table.querySelectorAll('th[data-column]')];

    function sort(column, direction) {
      const value = (row) => row.cells[column].dataset.value;
      const known = original.filter((row) => value(row) !== undefined);
      const missing = original.filter((row) => value(row) === undefined); // always last
      known.sort((row, other) => (direction === 'descending' ? -1 : 1) * compare(value(row), value(other)));
      body.append(...known, ...missing);
    }

    for (const heading of headings) {
      // Most scores are better when higher, so that the first click shows the best.
      const first = heading.classList.contains('number') ? 'descending' : 'ascending';
      const second = first === 'ascending' ? 'descending' : 'ascending';
      heading.querySelector('button').addEventListener('click', () => {
        const now = heading.getAttribute('aria-sort');
        const next = now === first ? second : now === second ? null : first;
        for (const other of headings) other.removeAttribute('aria-sort');
        if (next) {
          heading.setAttribute('aria-sort', next);
          sort(Number(heading.dataset.column), next);
        } else {
          body.append(...original); // the third click restores the original order
        }
      });
    }
  }

  /** Place a list below its number; by default browsers show it in the middle of the window. */
  function place(button) {
    const list = document.getElementById(button.getAttribute('popovertarget'));
    const at = button.getBoundingClientRect();
    const width = Math.min(352, document.documentElement.clientWidth - 16);
    const left = Math.min(at.left, document.documentElement.clientWidth - width - 8);
    list.style.width = `${width}px`;
    list.style.left = `${Math.max(8, left) + window.scrollX}px`;
    list.style.top = `${at.bottom + 4 + window.scrollY}px`;
  }

  /** Open the run that a hash names. */
  function reveal(hash) {
    const target = document.getElementById(decodeURIComponent(hash.slice(1)));
    if (target instanceof HTMLDetailsElement) target.open = true;
    return target;
  }

  async function copy(button) {
    const code = button.parentElement.querySelector('code');
    const selection = window.getSelection();
    selection.selectAllChildren(code); // Ctrl+C copies it if the browser forbids access to the clipboard
    let label = 'Selected';
    try {
      await navigator.clipboard.writeText(code.textContent);
      label = 'Copied';
    } catch {
      // Not allowed or not available: the text stays selected, and the button's label says so.
    }
    button.textContent = label;
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  }

  document.querySelectorAll('table.data').forEach(makeSortable);
  document.querySelectorAll('[popover]').forEach((list) => {
    list.addEventListener('toggle', (event) => {
      if (event.newState === 'open') list.scrollIntoView({ block: 'nearest' });
    });
  });
  document.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (button?.hasAttribute('popovertarget')) place(button);
    if (button?.classList.contains('copy')) copy(button);
    const link = event.target.closest('a[href^="#"]');
    if (link) { // before the browser scrolls, so that the run is open by then
      link.closest('[popover]')?.hidePopover?.();
      reveal(link.hash);
    }
  });
  window.addEventListener('hashchange', () => reveal(location.hash));
  if (location.hash) reveal(location.hash)?.scrollIntoView();
})();
