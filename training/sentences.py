"""Sentences for the synthesisers: a small grammar, word lists and made-up words, all our own.

Meaning does not matter, sounds do: every language contributes its own vowels, consonants and
rhythm. Made-up words spread the sounds evenly where the word lists are short.
"""

from __future__ import annotations

import random

# Common words per language, in the spelling that the synthesisers read.
WORDS = {
    "en": "people money bubble moon five very father mother apple market river window yellow purple"
    " orange weather whisper church judge measure vision thing think this breathe other water"
    " button people simple people happy maybe before above below animal elephant umbrella"
    " bottle battle music voice choice boy joy house mouth sound town cow now law saw thought"
    " caught bought food good book look foot move prove love glove wonder one two three four"
    " six seven eight nine ten cheese shoes shine wash push pull full fool wool world word"
    " bird heard her first girl learn fair care where there here fear near ear year yes you"
    " use few view beautiful computer picture garden green great bread black blue brown spring"
    " street strong script splash quick queen quiet paper pepper puppy baby bob mum pump jump"
    " lamp camp map tap cup up hope soap shape ship shop open over almost always between bring"
    " talk walk speak sing laugh smile wait want went wish",
    "de": "Mutter Vater Bruder Schwester Haus Maus Baum Buch Tisch Fenster Wasser Feuer Himmel Brot"
    " Milch Apfel Birne Pflaume schön grün blau rot weiß schwarz zwölf fünf vier Bäume über"
    " müssen können sprechen laufen schwimmen bitte danke morgen abend wunderbar Pfeife Zug"
    " Zeit Woche Jahr",
    "fr": "maison jardin bonjour merci beaucoup père mère frère soeur pomme pain beurre vin eau"
    " bleu rouge vert blanc noir petit grand chambre fenêtre voiture oiseau peuple musique"
    " lumière feuille jeune heureux toujours jamais parler vouloir pouvoir monde montagne"
    " champ bon vent juin bouche",
    "es": "casa mesa perro gato padre madre hermano agua fuego pan vino leche bueno malo grande"
    " poco mucho hablar beber comer vivir pueblo ciudad puerta ventana blanco negro verde"
    " amarillo niño mañana llave lluvia joven viejo trabajo cabeza boca mano pie cinco seis"
    " siete ocho nueve diez",
    "it": "casa famiglia padre madre fratello acqua vino pane formaggio bello buono piccolo grande"
    " parlare bere mangiare vivere giorno notte luce fuoco mare montagna pioggia neve bianco"
    " rosso giallo verde azzurro uomo donna bambino gnocchi zucchero chiave scuola piazza"
    " giugno sbaglio",
    "pt": "casa mesa pai mãe irmão água fogo pão vinho leite bom mau grande pequeno muito pouco"
    " falar beber comer viver porta janela branco preto verde amarelo menino amanhã chave"
    " chuva jovem velho trabalho cabeça boca mão coração cinco seis sete oito nove dez viagem"
    " bonito obrigado",
    "ru": "мама папа брат сестра дом окно вода огонь хлеб молоко большой маленький хорошо плохо"
    " говорить пить жить любить город дорога белый чёрный зелёный синий время неделя год утро"
    " вечер мир рука голова рыба птица шапка жизнь щука чашка цветок юбка яблоко море улица",
    "pl": "matka ojciec brat siostra dom okno woda ogień chleb mleko duży mały dobrze źle mówić pić"
    " żyć miasto droga biały czarny zielony niebieski czas tydzień rok rano wieczór świat ręka"
    " głowa ryba ptak czapka życie szczęście dziękuję proszę jabłko morze ulica miłość grzyb",
    "nl": "moeder vader broer zus huis raam water vuur brood melk groot klein goed slecht spreken"
    " drinken leven stad weg wit zwart groen blauw tijd week jaar morgen avond wereld hand"
    " hoofd vis vogel boom bloem zee straat liefde appel muur deur schip vrouw mooi bijzonder",
    "sv": "mor far bror syster hus fönster vatten eld bröd mjölk stor liten bra dålig tala dricka"
    " leva stad väg vit svart grön blå tid vecka år morgon kväll värld hand huvud fisk fågel"
    " träd blomma hav gata kärlek äpple sju sjuk kött björn",
    "tr": "anne baba kardeş ev pencere su ateş ekmek süt büyük küçük iyi kötü konuşmak içmek"
    " yaşamak şehir yol beyaz siyah yeşil mavi zaman hafta yıl sabah akşam dünya el baş balık"
    " kuş ağaç çiçek deniz sokak elma gülmek yüzük köprü ömür",
    "hi": "माँ पिता भाई बहन घर पानी आग रोटी दूध बड़ा छोटा अच्छा बुरा बोलना पीना रहना शहर सड़क सफेद"
    " काला हरा नीला समय सप्ताह साल सुबह शाम दुनिया हाथ सिर मछली चिड़िया पेड़ फूल समुद्र प्रेम"
    " सेब नमस्ते भारत पुस्तक",
    "mr": "आई बाबा भाऊ बहीण घर पाणी दूध मोठा लहान चांगला बोलणे पिणे शहर रस्ता पांढरा काळा हिरवा वेळ"
    " वर्ष सकाळ जग हात डोके मासा झाड फूल समुद्र प्रेम पुस्तक नमस्कार",
    "te": "అమ్మ నాన్న తమ్ముడు ఇల్లు నీరు పాలు పెద్ద చిన్న మంచి మాట నగరం దారి తెలుపు నలుపు సమయం ఉదయం"
    " ప్రపంచం చేయి తల చేప పక్షి చెట్టు పువ్వు సముద్రం ప్రేమ పుస్తకం బంగారం వేప",
    "ar": "أم أب أخ بيت نافذة ماء نار خبز حليب كبير صغير جيد مدينة طريق أبيض أسود أخضر أزرق وقت"
    " أسبوع سنة صباح مساء عالم يد رأس سمك طائر شجرة زهرة بحر شارع حب تفاح كتاب باب",
    "ja": "おかあさん おとうさん いえ まど みず ひ ぱん ぎゅうにゅう おおきい ちいさい"
    " よい わるい はなす のむ まち みち しろ くろ みどり あお じかん しゅう とし"
    " あさ ゆうがた せかい て あたま さかな とり き はな うみ ふゆ"
    " びょういん ぼうし ぶんぼうぐ りんご",
    "zh": "ma1ma5 ba4ba5 jia1 chuang1 shui3 huo3 mian4bao1 niu2nai3 da4 xiao3 hao3 huai4 shuo1 he1"
    " cheng2shi4 lu4 bai2 hei1 lü4 lan2 shi2jian1 xing1qi1 nian2 zao3shang5 wan3shang5"
    " shi4jie4 shou3 tou2 yu2 niao3 shu4 hua1 hai3 jie1 ai4 ping2guo3 peng2you5 xue2xiao4"
    " gong1yuan2 wo3 ni3 ta1 fei1ji1 bei1zi5 mei3li4 chuan2 yun2",
    "cs": "matka otec bratr sestra dům okno voda oheň chléb mléko velký malý dobře špatně mluvit"
    " pít žít město cesta bílý černý zelený modrý čas týden rok ráno večer svět ruka hlava"
    " ryba pták strom květ moře ulice láska jablko řeka příběh žába šíp",
    "fi": "äiti isä veli sisko talo ikkuna vesi tuli leipä maito suuri pieni hyvä paha puhua juoda"
    " elää kaupunki tie valkoinen musta vihreä sininen aika viikko vuosi aamu ilta maailma"
    " käsi pää kala lintu puu kukka meri katu rakkaus omena yö työ löyly pöytä vyö tyttö",
    "ca": "mare pare germà casa finestra aigua foc pa vi llet gran petit bo dolent parlar beure"
    " viure ciutat camí blanc negre verd blau temps setmana any matí vespre món mà cap peix"
    " ocell arbre flor mar carrer amor poma llum jove puig bosc pluja",
    "ko": "어머니 아버지 집 창문 물 불 빵 우유 크다 작다 좋다 말하다 마시다"
    " 도시 길 하얀 검은 시간 아침 저녁 세계 손 머리 물고기 새 나무 꽃 바다 거리 사랑"
    " 사과 의자 왜 위",
    "el": "μητέρα πατέρας αδελφός σπίτι παράθυρο νερό φωτιά ψωμί γάλα μεγάλο μικρό καλό μιλάω πίνω"
    " πόλη δρόμος άσπρο μαύρο πράσινο ώρα χρόνος πρωί κόσμος χέρι ψάρι πουλί δέντρο λουλούδι"
    " θάλασσα αγάπη μπάλα",
}

# Onsets and vowels that made-up words are put together from, by script.
LATIN = (
    "p b m f v w t d n l r s z k g sh ch y j h pl br tr sm sp fl",
    "a e i o u ai ou oo ee",
)
CYRILLIC = (
    "п б м ф в т д н л р с з к г ш ч ж х бл пр ст",
    "а е и о у ы я ю ё э",
)
SCRIPTS = {"ru": CYRILLIC} | dict.fromkeys(("hi", "mr", "te", "ar", "ja", "zh", "ko", "el"))

SUBJECTS = (
    "my mother | a small boy | the whole family | every farmer | our old friend"
    " | this woman | nobody | the man"
)
VERBS = (
    "wants to buy | will move | has found | never believed in | talks about"
    " | is watching | gave up | washed"
)
OBJECTS = (
    "a big blue boat | some warm bread | four very good books | the beautiful moon"
    " | an awful problem | five shoes | it"
)
ENDINGS = (
    "before the show | with both hands | because of you | in the evening"
    " | for a while | as usual | far away | at home"
)
OPENINGS = ("", "", "Well, ", "Oh! ", "Maybe ", "You know, ", "I believe ", "Now ")


def sentence(language: str, random_source: random.Random) -> str:
    """One sentence of 3 to 14 words in `language`, with a comma or a full stop now and then."""
    if language == "en" and random_source.random() < 0.4:
        return english_sentence(random_source)
    words = WORDS[language].split()
    chosen = []
    for _ in range(random_source.randint(3, 14)):
        made_up = SCRIPTS.get(language, LATIN) and random_source.random() < 0.25
        word = invent_word(language, random_source) if made_up else random_source.choice(words)
        chosen.append(
            word + random_source.choices(["", ",", ".", "?"], [0.86, 0.08, 0.04, 0.02])[0]
        )
    return " ".join(chosen).rstrip(",.?") + random_source.choice(".?!..")


def english_sentence(random_source: random.Random) -> str:
    """A grammatical English sentence, for natural stress and linking."""
    parts = (
        random_source.choice(choices.split(" | "))
        for choices in (SUBJECTS, VERBS, OBJECTS, ENDINGS)
    )
    return random_source.choice(OPENINGS) + " ".join(parts) + random_source.choice(".?!")


def invent_word(language: str, random_source: random.Random) -> str:
    """A word of 1 to 4 open syllables that nobody has heard before."""
    onsets, vowels = (part.split() for part in SCRIPTS.get(language) or LATIN)
    syllables = (
        random_source.choice(onsets) + random_source.choice(vowels)
        for _ in range(random_source.randint(1, 4))
    )
    return "".join(syllables)
