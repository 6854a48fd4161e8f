// Pictures computed beforehand, one a choice: they change while the slider is dragged (03, 04).
//
// Data: {label, pictures: [[name, data URL], …], start}.
"use strict";

scenes.stills = ({ label, pictures, start }) => {
  let at = start;
  const bar = row(), image = make("img", { alt: "" });
  bar.append(make("label", { textContent: label }));
  const slider = scrubber(bar, label, pictures.length - 1, (k) => show(k));
  const name = make("b");
  bar.append(name);
  add("div", { className: "stills" }, image);
  image.onload = fit;
  function show(k) {
    at = k;
    slider.value = k;
    slider.setAttribute("aria-valuetext", pictures[k][0]);
    name.textContent = pictures[k][0];
    image.src = pictures[k][1];
    image.alt = `${label}: ${pictures[k][0]}`;
  }
  show(start);
  window.scene = { show, state: () => ({ at, name: pictures[at][0] }) };
};
