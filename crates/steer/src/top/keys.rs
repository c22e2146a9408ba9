//! What keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::state::{Page, State};

/// A screen of rows, about.
const PAGE: isize = 15;
const FAR: isize = isize::MAX;

impl State {
    pub(super) fn press(&mut self, key: KeyEvent) {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c' | 'd') => self.end(),
                KeyCode::Char('u') => self.erase_filter(true),
                _ => {}
            }
        } else if self.is_typing {
            self.type_key(key.code);
        } else {
            self.command_key(key.code);
        }
    }

    fn type_key(&mut self, key: KeyCode) {
        match key {
            KeyCode::Backspace => self.erase_filter(false),
            KeyCode::Char(char) => self.type_filter(char),
            KeyCode::Down => self.step(1),
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.erase_filter(true);
            }
            KeyCode::Up => self.step(-1),
            _ => {}
        }
    }

    fn command_key(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char('j') | KeyCode::Down => self.step(1),
            KeyCode::Char('k') | KeyCode::Up => self.step(-1),
            KeyCode::PageDown => self.step(PAGE),
            KeyCode::PageUp => self.step(-PAGE),
            KeyCode::Char('G') | KeyCode::End => self.step(FAR),
            KeyCode::Char('g') | KeyCode::Home => self.step(-FAR),
            KeyCode::Char('l') | KeyCode::Enter | KeyCode::Right if self.page == Page::Pools => {
                self.turn_to(Page::Servers);
            }
            KeyCode::Char('h') | KeyCode::Left | KeyCode::Backspace => self.turn_to(Page::Pools),
            KeyCode::Esc if self.page == Page::Pools => self.erase_filter(true),
            KeyCode::Esc => self.turn_to(Page::Pools),
            KeyCode::Char('d') if self.page == Page::Drains => self.turn_to(Page::Pools),
            KeyCode::Char('d') => self.turn_to(Page::Drains),
            KeyCode::Char('s') => self.next_sort(),
            KeyCode::Char('r') => self.reverse(),
            KeyCode::Char('/') => {
                self.turn_to(Page::Pools);
                self.is_typing = true;
            }
            KeyCode::Char('q') => self.end(),
            _ => {}
        }
    }
}
