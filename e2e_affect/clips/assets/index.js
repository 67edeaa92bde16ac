// Sorts the table of clips by the column whose heading is pressed; pressed again, the other way round.
'use strict';

for (const button of document.querySelectorAll('th button')) {
  button.addEventListener('click', () => {
    const head = button.closest('th'), column = head.cellIndex, body = head.closest('table').tBodies[0];
    const down = head.getAttribute('aria-sort') === 'ascending';
    for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const value = row => row.cells[column].dataset.sort;
    const before = (a, b) => isNaN(a) || isNaN(b) || a === '' || b === '' ? a.localeCompare(b) : a - b;
    const rows = [...body.rows].sort((a, b) => before(value(a), value(b)) * (down ? -1 : 1));
    body.append(...rows);
  });
}
