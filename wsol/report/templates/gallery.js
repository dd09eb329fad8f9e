/* Show the gallery's images in the chosen order; a picture exists only while its card is near the window. */
(() => {
  'use strict';

  // Every 15th of the 256 colours of matplotlib's inferno, between which lines are at most 5 of 255 off.
  const INFERNO = `000004 0a0722 1e0c45 380962 510e6c 69166e 801f6c 982766 b0315b
    c63d4d d94d3d e9612b f47918 fa9407 fcb014 f8cd37 f2ea69 fcffa4`
    .split(/\s+/).map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  // Level of grey -> red, green, blue and opacity, as one number: a pixel is then written at once.
  const COLORS = new Uint32Array(Uint8ClampedArray.from({ length: 4 * 256 }, (_, at) => {
    const [level, channel] = [at >> 2, at % 4];
    const [stop, share] = [Math.floor(level / 15), (level % 15) / 15];
    const next = INFERNO[Math.min(stop + 1, INFERNO.length - 1)];
    return channel === 3 ? 255 : INFERNO[stop][channel] + share * (next[channel] - INFERNO[stop][channel]);
  }).buffer);
  const NEAR = '600px'; // distance from the window at which a card's pictures are made
  const LONG = 224; // longer side of an enlarged map in pixels
  const SVG = 'http://www.w3.org/2000/svg';

  /** Make an element; text is set as text, so that a name is never read as markup. */
  function element(tag, className, text) {
    const made = document.createElement(tag);
    made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  /** Enlarge a small grayscale map smoothly, then colour it: colours in between belong to scores in between. */
  async function drawMap(canvas, uri, aspect) {
    const map = new Image();
    map.src = uri;
    await map.decode();
    const sides = [Math.min(1, aspect), 1 / Math.max(1, aspect)];
    const [width, height] = sides.map((side) => Math.max(1, Math.round(LONG * side)));
    // Cubic where the browser can; the canvas's own enlargement is linear, and draws a cross on every peak.
    const enlarged = await createImageBitmap(map, { resizeWidth: width, resizeHeight: height, resizeQuality: 'high' });
    if (!canvas.isConnected) return; // scrolled away meanwhile
    Object.assign(canvas, { width, height });
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(enlarged, 0, 0);
    enlarged.close();
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    const whole = new Uint32Array(pixels.data.buffer);
    for (let at = 0; at < whole.length; at += 1) whole[at] = COLORS[pixels.data[4 * at]];
    context.putImageData(pixels, 0, 0);
  }

  /** Draw boxes over a picture with sides of 1 x 1; lines keep their width, and have a pale edge on any background. */
  function drawBoxes(boxes, kind) {
    return boxes.flatMap(([x0, y0, x1, y1]) => ['edge', kind].map((className) => {
      const rectangle = document.createElementNS(SVG, 'rect');
      rectangle.setAttribute('class', className);
      rectangle.setAttribute('x', x0);
      rectangle.setAttribute('y', y0);
      rectangle.setAttribute('width', Math.max(0, x1 - x0));
      rectangle.setAttribute('height', Math.max(0, y1 - y0));
      return rectangle;
    }));
  }

  function makeFrame(image, view) {
    const frame = element('div', image.photo ? 'frame' : 'frame bare');
    frame.style.setProperty('--aspect', image.aspect);
    if (image.photo) {
      const photo = element('img', '');
      photo.alt = view ? '' : image.id; // a screen reader reads the name once
      photo.src = image.photo;
      frame.append(photo);
    }
    if (view?.map) {
      const canvas = element('canvas', '');
      frame.append(canvas);
      drawMap(canvas, view.map, image.aspect)
        .catch(() => frame.append(element('span', 'unreadable', 'unreadable map')));
    }
    const over = document.createElementNS(SVG, 'svg');
    over.setAttribute('viewBox', '0 0 1 1');
    over.setAttribute('preserveAspectRatio', 'none');
    over.setAttribute('aria-hidden', 'true');
    over.append(...drawBoxes(image.boxes, 'true'), ...(view?.box ? drawBoxes([view.box], 'predicted') : []));
    frame.append(over);
    return frame;
  }

  function makePanel(data, image, view, setting) {
    const panel = element('figure', 'panel');
    const caption = element('figcaption', '');
    if (view) {
      const error = data.errors[view.error];
      caption.append(element('span', 'setting', setting), element('span', 'iou', `IoU ${view.iou}`));
      if (view.top1 !== null) caption.append(element('span', 'top1', view.top1 ? 'class right' : 'class wrong'));
      caption.append(element('span', error === 'right' ? 'error right' : 'error', error));
    } else {
      caption.append(element('span', 'setting', image.photo ? 'Image' : 'No photo here'));
    }
    panel.append(makeFrame(image, view), caption);
    return panel;
  }

  function makeCard(data, image) {
    const card = element('article', 'card far');
    const heading = element('h4', '');
    heading.append(
      element('span', 'name', image.id),
      element('span', 'class', data.classes[image.class]),
      element('span', 'size', data.sizes[image.size]),
    );
    card.append(heading);
    return card;
  }

  function showGallery(root) {
    const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
    const holder = root.querySelector('.cards');
    const select = (name) => root.querySelector(`select[name="${name}"]`);
    const chosen = (name) => select(name).value;
    const cards = data.images.map((image) => makeCard(data, image));
    const imageOf = new Map(cards.map((card, place) => [card, data.images[place]]));
    const count = 1 + data.settings.length;
    // Two rows of similar length read better than a full row and a short one.
    holder.style.setProperty('--row', count > 6 ? Math.ceil(count / 2) : count);

    function fill(card) {
      const image = imageOf.get(card);
      const panels = element('div', 'panels');
      panels.append(makePanel(data, image));
      image.views.forEach((view, at) => panels.append(makePanel(data, image, view, data.settings[at])));
      card.append(panels);
      card.classList.remove('far');
      card.style.minHeight = '';
    }

    function empty(card, height) { // the card keeps its height, or everything below would jump
      card.style.minHeight = `${height}px`;
      card.classList.add('far');
      for (const canvas of card.querySelectorAll('canvas')) canvas.width = 0; // frees its memory now
      card.querySelector('.panels').remove();
    }

    let guessed = false;
    const watcher = new IntersectionObserver((entries) => {
      for (const { target: card, isIntersecting: near, boundingClientRect: { height } } of entries) {
        const far = card.classList.contains('far');
        if (near && far) fill(card);
        if (!near && !far) empty(card, height);
      }
      // Cards not drawn yet get the height of the first drawn card, only once, or the page would keep moving.
      const example = guessed ? null : holder.querySelector('.card:not(.far)');
      if (example) {
        guessed = true;
        holder.style.setProperty('--card-height', `${example.offsetHeight}px`);
      }
    }, { rootMargin: NEAR });

    function matches(image) {
      const [className, size, error] = ['class', 'size', 'error'].map(chosen);
      return (className === '' || image.class === Number(className))
        && (size === '' || image.size === Number(size))
        && (error === '' || image.views.some((view) => view.error === Number(error)));
    }

    function update() {
      const shown = data.orders[Number(chosen('order'))].filter((place) => matches(data.images[place]));
      holder.replaceChildren(...shown.map((place) => cards[place]));
      const [some, all] = [shown.length, cards.length].map((count) => count.toLocaleString('en'));
      root.querySelector('.count').textContent = shown.length
        ? `Showing ${some} of ${all} ${cards.length === 1 ? 'image' : 'images'}.`
        : `No image matches. There ${cards.length === 1 ? 'is' : 'are'} ${all} in all.`;
    }

    for (const name of ['order', 'class', 'size', 'error']) select(name).addEventListener('change', update);
    const opacity = root.querySelector('input[name="opacity"]');
    opacity.addEventListener('input', () => holder.style.setProperty('--map-opacity', opacity.value / 100));
    let width = window.innerWidth;
    window.addEventListener('resize', () => { // heights depend on the window's width
      if (window.innerWidth === width) return;
      width = window.innerWidth;
      guessed = false;
      for (const card of cards) card.style.minHeight = '';
    });
    root.querySelector('.bar').style.background =
      `linear-gradient(to right, ${INFERNO.map((color) => `rgb(${color.join()})`).join()})`;
    update();
    for (const card of cards) watcher.observe(card);
  }

  document.querySelectorAll('.gallery').forEach(showGallery);
})();
